"""Webhooks: being told of one's jobs by signed requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from sluice_client.api import Api, step

_WEBHOOKS = "/v2/webhooks"


class Webhook(Struct, frozen=True, kw_only=True):
    """An address that is told of the client's jobs; `note` says why the service has disabled it, if it has.

    `secret`, which messages are signed with, is there only when it has just got it. Until
    `previous_secret_until` messages are signed with the one before, too.
    """

    id: str
    href: str
    url: str
    types: list[str]
    enabled: bool
    note: str | None = None
    created_on: datetime
    delivered_on: datetime | None = None
    previous_secret_until: datetime | None = None
    secret: str | None = None


class WebhookDelivery(Struct, frozen=True, kw_only=True):
    """A message to a webhook: `state` is `waiting`, `delivered` or `failed`; `status` the last answer's."""

    id: str
    href: str
    message: str
    type: str
    job: str | None = None
    state: str
    attempts: int
    status: int | None = None
    error: str | None = None
    created_on: datetime
    due_on: datetime | None = None
    ended_on: datetime | None = None


class WebhookCalls(Api):
    """What a client does about its webhooks, with tokens with which it acts for itself."""

    async def add_webhook(self, url: str, types: Sequence[str] | None = None) -> Webhook:
        """Register an address; None of types: the planning, end and expiry of jobs. Keep the secret.

        Examples
        --------
        >>> webhook = await sluice.add_webhook("https://portal.example/hook", ["job.finished"])
        >>> standardwebhooks.Webhook(webhook.secret).verify(body, headers)
        """
        body: dict[str, Any] = {"url": url}
        if types is not None:
            body["types"] = list(types)
        return await self.call("POST", _WEBHOOKS, Webhook, body=body)

    def webhooks(self) -> AsyncIterator[Webhook]:
        """Go through the client's webhooks."""
        return self.pages(_WEBHOOKS, Webhook, {})

    async def webhook(self, webhook: str) -> Webhook:
        """Give one webhook."""
        return await self.get(f"{_WEBHOOKS}/{step(webhook)}", Webhook)

    async def change_webhook(
        self,
        webhook: str,
        *,
        url: str | None = None,
        types: Sequence[str] | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Change what is given."""
        given = {"url": url, "types": None if types is None else list(types), "enabled": enabled}
        body = {name: value for name, value in given.items() if value is not None}
        return await self.call("PATCH", f"{_WEBHOOKS}/{step(webhook)}", Webhook, body=body)

    async def rotate_webhook_secret(self, webhook: str, *, overlap_hours: float = 24.0) -> Webhook:
        """Give a webhook another secret; for so long messages are signed with the old one, too."""
        path = f"{_WEBHOOKS}/{step(webhook)}/actions/rotate-secret"
        return await self.call("POST", path, Webhook, body={"overlap_hours": overlap_hours})

    async def remove_webhook(self, webhook: str) -> None:
        """Remove a webhook and what is known of its deliveries."""
        await self.send("DELETE", f"{_WEBHOOKS}/{step(webhook)}")

    async def ping_webhook(self, webhook: str) -> WebhookDelivery:
        """Send a message that means nothing."""
        return await self.call("POST", f"{_WEBHOOKS}/{step(webhook)}/actions/ping", WebhookDelivery)

    def webhook_deliveries(self, webhook: str, *, state: str | None = None) -> AsyncIterator[WebhookDelivery]:
        """Go through what a webhook was told, or was to be told, the newest first."""
        return self.pages(f"{_WEBHOOKS}/{step(webhook)}/deliveries", WebhookDelivery, {"state": state})

    async def redeliver_webhook(self, webhook: str, delivery: str) -> WebhookDelivery:
        """Have a message sent again, whatever became of it."""
        path = f"{_WEBHOOKS}/{step(webhook)}/deliveries/{step(delivery)}/actions/redeliver"
        return await self.call("POST", path, WebhookDelivery)
