"""Webhooks: being told of one's jobs by signed requests (Standard Webhooks)."""

from __future__ import annotations

from datetime import timedelta

from sluice_gateway.models.base import Page, PageQuery
from sluice_gateway.models.webhooks import (
    DeliveriesQuery,
    Delivery,
    NewWebhook,
    SecretRotation,
    Webhook,
    WebhookChanges,
    WebhookRequest,
)
from sluice_gateway.paging import TOTAL_HEADER, Window, address, links
from sluice_gateway.routing import Answer, Call, Route

TAG = "Webhooks"
LIST = "/v2/webhooks"
ITEM = LIST + "/{id}"
DELIVERIES = ITEM + "/deliveries"
DELIVERY = DELIVERIES + "/{delivery}"


async def register_webhook(call: Call) -> Answer:
    """Register an address that is told of the client's jobs.

    Requests are signed by the Standard Webhooks specification (`webhook-id`, `webhook-timestamp`,
    `webhook-signature`) with the secret that this answers, once. Their body has `type`, `timestamp` and
    `data`: the event. A message may come more than once, with the same `webhook-id`. One that is not answered
    with 2xx is tried again for a day; then the webhook is disabled, if it took nothing meanwhile.
    """
    made = await call.gateway.webhooks.register(call.principal, call.body.url, call.body.types)
    return Answer(made, 201, {"Location": made.href})


async def list_webhooks(call: Call) -> Answer:
    """List the client's webhooks."""
    window = Window.of(call.query)
    found, total = await call.gateway.webhooks.page(call.principal, window)
    href = call.gateway.hrefs(LIST)
    page = Page[Webhook](href=address(href, {}, window), items=found, links=links(href, {}, window, total))
    return Answer(page, headers={TOTAL_HEADER: str(total)})


async def get_webhook(call: Call) -> Answer:
    """Get a webhook; a note says why the service has disabled it, if it has."""
    return Answer(await call.gateway.webhooks.get(call.principal, call.path["id"]))


async def change_webhook(call: Call) -> Answer:
    """Change a webhook's address or types, disable it or enable it again.

    What happens while it is disabled it is not told later.
    """
    wanted = call.body
    return Answer(
        await call.gateway.webhooks.change(
            call.principal, call.path["id"], wanted.url, wanted.types, wanted.enabled
        )
    )


async def remove_webhook(call: Call) -> Answer:
    """Remove a webhook and what is known of its deliveries."""
    await call.gateway.webhooks.remove(call.principal, call.path["id"])
    return Answer(status=204)


async def rotate_webhook_secret(call: Call) -> Answer:
    """Give the webhook another secret, which this answers, once.

    For some hours messages carry two signatures, with the new secret and with the old one: a receiver that
    verifies by the Standard Webhooks specification takes either. A second rotation ends the first one's old
    secret at once.
    """
    overlap = timedelta(hours=call.body.overlap_hours)
    return Answer(await call.gateway.webhooks.rotate_secret(call.principal, call.path["id"], overlap))


async def ping_webhook(call: Call) -> Answer:
    """Send the webhook a message of type `webhook.ping`; what becomes of it the delivery tells."""
    made = await call.gateway.webhooks.ping(call.principal, call.path["id"])
    return Answer(made, 202, {"Location": made.href})


async def list_webhook_deliveries(call: Call) -> Answer:
    """List what a webhook was told, or was to be told, the newest first; the last 30 days of it."""
    window, state = Window.of(call.query), call.query.state
    found, total = await call.gateway.webhooks.deliveries(call.principal, call.path["id"], state, window)
    href = f"{call.gateway.hrefs.webhook(call.path['id'])}/deliveries"
    filters = {"state": state}
    page = Page[Delivery](
        href=address(href, filters, window), items=found, links=links(href, filters, window, total)
    )
    return Answer(page, headers={TOTAL_HEADER: str(total)})


async def get_webhook_delivery(call: Call) -> Answer:
    """Get a delivery: how often it was tried, and what was answered last."""
    return Answer(
        await call.gateway.webhooks.delivery(call.principal, call.path["id"], call.path["delivery"])
    )


async def redeliver_webhook(call: Call) -> Answer:
    """Have a message sent again, whatever became of it, for another day."""
    again = await call.gateway.webhooks.redeliver(call.principal, call.path["id"], call.path["delivery"])
    return Answer(again, 202, {"Location": again.href})


ROUTES = (
    Route(
        "POST",
        LIST,
        register_webhook,
        "Register a webhook",
        TAG,
        {201: NewWebhook},
        "",
        body=WebhookRequest,
        errors=(403, 409),
    ),
    Route(
        "GET",
        LIST,
        list_webhooks,
        "List webhooks",
        TAG,
        {200: Page[Webhook]},
        "",
        query=PageQuery,
        errors=(403,),
    ),
    Route("GET", ITEM, get_webhook, "Get a webhook", TAG, {200: Webhook}, "", errors=(403, 404)),
    Route(
        "PATCH",
        ITEM,
        change_webhook,
        "Change a webhook",
        TAG,
        {200: Webhook},
        "",
        body=WebhookChanges,
        errors=(403, 404),
    ),
    Route("DELETE", ITEM, remove_webhook, "Remove a webhook", TAG, {204: None}, "", errors=(403, 404)),
    Route(
        "POST",
        ITEM + "/actions/rotate-secret",
        rotate_webhook_secret,
        "Rotate a webhook's secret",
        TAG,
        {200: NewWebhook},
        "",
        body=SecretRotation,
        errors=(403, 404),
    ),
    Route(
        "POST",
        ITEM + "/actions/ping",
        ping_webhook,
        "Try a webhook",
        TAG,
        {202: Delivery},
        "",
        errors=(403, 404, 409),
    ),
    Route(
        "GET",
        DELIVERIES,
        list_webhook_deliveries,
        "List deliveries",
        TAG,
        {200: Page[Delivery]},
        "",
        query=DeliveriesQuery,
        errors=(403, 404),
    ),
    Route(
        "GET", DELIVERY, get_webhook_delivery, "Get a delivery", TAG, {200: Delivery}, "", errors=(403, 404)
    ),
    Route(
        "POST",
        DELIVERY + "/actions/redeliver",
        redeliver_webhook,
        "Deliver again",
        TAG,
        {202: Delivery},
        "",
        errors=(403, 404, 409),
    ),
)
