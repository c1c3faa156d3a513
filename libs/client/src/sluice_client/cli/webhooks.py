"""`sluice webhooks`: addresses that are told of the client's jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice_client.cli.session import session_of, table
from sluice_client.client import SluiceClient
from sluice_client.webhooks import Webhook, WebhookDelivery

webhooks = typer.Typer(help="Addresses that are told of your jobs.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID")]


@webhooks.command("add")
def add_webhook(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="an https address that takes POST")],
    type_: Annotated[
        list[str] | None,
        typer.Option("--type", help="an event, such as job.finished; may be repeated"),
    ] = None,
) -> None:
    """Register an address; prints its id and, this once, the secret that messages are signed with."""
    session = session_of(context)
    made = session.call(lambda client: client.add_webhook(url, type_ or None))
    session.show(made, lambda: f"{made.id}\nsecret: {made.secret}")


@webhooks.command("list")
def list_webhooks(context: typer.Context) -> None:
    """List the client's webhooks."""
    session = session_of(context)

    async def work(client: SluiceClient) -> list[Webhook]:
        return [it async for it in client.webhooks()]

    found = session.call(work)
    rows = [
        (it.id, it.url, ", ".join(it.types), "enabled" if it.enabled else "disabled", it.note or "")
        for it in found
    ]
    headings = ("id", "address", "types", "state", "note")
    session.show(found, lambda: table(headings, rows, "No webhooks yet."))


@webhooks.command("change")
def change_webhook(
    context: typer.Context,
    id_: Id,
    url: Annotated[str | None, typer.Option(help="another address")] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="what it is told, for all so far; may be repeated")
    ] = None,
) -> None:
    """Change where a webhook is, or what it is told; its secret stays."""
    if url is None and types is None:
        raise typer.BadParameter("say what to change")
    session = session_of(context)
    changed = session.call(lambda client: client.change_webhook(id_, url=url, types=types))
    session.show(changed, lambda: "changed")


@webhooks.command("enable")
def enable_webhook(context: typer.Context, id_: Id) -> None:
    """Enable a webhook again."""
    session = session_of(context)
    session.show(session.call(lambda client: client.change_webhook(id_, enabled=True)), lambda: "enabled")


@webhooks.command("disable")
def disable_webhook(context: typer.Context, id_: Id) -> None:
    """Have a webhook told nothing for a while; what happens meanwhile it is not told later."""
    session = session_of(context)
    session.show(session.call(lambda client: client.change_webhook(id_, enabled=False)), lambda: "disabled")


@webhooks.command("rotate-secret")
def rotate_secret(
    context: typer.Context,
    id_: Id,
    overlap: Annotated[
        float, typer.Option(help="hours during which messages are signed with the old secret, too")
    ] = 24.0,
) -> None:
    """Give a webhook another secret, and print it, this once."""
    session = session_of(context)
    made = session.call(lambda client: client.rotate_webhook_secret(id_, overlap_hours=overlap))
    session.show(made, lambda: f"secret: {made.secret}")


@webhooks.command("remove")
def remove_webhook(context: typer.Context, id_: Id) -> None:
    """Remove a webhook and what is known of its deliveries."""
    session = session_of(context)
    session.call(lambda client: client.remove_webhook(id_))
    session.show({"removed": id_}, lambda: "removed")


@webhooks.command("ping")
def ping_webhook(context: typer.Context, id_: Id) -> None:
    """Send a webhook a message that means nothing; prints the delivery's id."""
    session = session_of(context)
    sent = session.call(lambda client: client.ping_webhook(id_))
    session.show(sent, lambda: sent.id)


@webhooks.command("deliveries")
def list_deliveries(
    context: typer.Context,
    id_: Id,
    state: Annotated[str | None, typer.Option(help="waiting, delivered or failed")] = None,
) -> None:
    """List what a webhook was told, or was to be told, the newest first."""
    session = session_of(context)

    async def work(client: SluiceClient) -> list[WebhookDelivery]:
        return [it async for it in client.webhook_deliveries(id_, state=state)]

    found = session.call(work)
    rows = [
        (it.id, it.created_on, it.type, it.job or "", it.state, it.attempts, it.status or it.error or "")
        for it in found
    ]
    headings = ("id", "created", "type", "job", "state", "tries", "last answer")
    session.show(found, lambda: table(headings, rows, "Nothing yet."))


@webhooks.command("redeliver")
def redeliver(
    context: typer.Context, id_: Id, delivery: Annotated[str, typer.Argument(metavar="DELIVERY")]
) -> None:
    """Have a message sent again, whatever became of it."""
    session = session_of(context)
    session.show(session.call(lambda client: client.redeliver_webhook(id_, delivery)), lambda: "sent again")
