"""`sluice audit`: who did what (operators)."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice_client.audit import AuditEvent
from sluice_client.cli.exporting import instant_of
from sluice_client.cli.session import session_of, table
from sluice_client.client import SluiceClient

_OUTCOMES = {"0": "done", "4": "denied", "8": "refused", "12": "failed"}


def audit(
    context: typer.Context,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="from when, such as 2027-01-31 (UTC)")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="before when")] = None,
    act: Annotated[
        str | None, typer.Option(help="such as token, disclose, read, search, grant.give, export.begin")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="a client's or a user's id")] = None,
    entity: Annotated[
        str | None, typer.Option(help="what it was done to: Type/id, or a job's or file's id")
    ] = None,
    patient: Annotated[str | None, typer.Option(help="whose data they are")] = None,
    outcome: Annotated[str | None, typer.Option(help="0 done, 4 denied, 8 refused or failed")] = None,
    limit: Annotated[int, typer.Option(min=1, help="the most records")] = 100,
) -> None:
    """List audit records, the newest first (operators)."""
    first, last = instant_of(since, "--since"), instant_of(until, "--until")
    session = session_of(context)

    async def work(client: SluiceClient) -> list[AuditEvent]:
        found: list[AuditEvent] = []
        events = client.audit_events(
            since=first,
            until=last,
            subtype=act,
            agent=agent,
            entity=entity,
            patient=patient,
            outcome=outcome,
        )
        async for event in events:
            found.append(event)
            if len(found) == limit:
                break
        return found

    events = session.call(work)
    headings = ("recorded", "act", "outcome", "who", "from", "what")
    session.show(events, lambda: table(headings, [_row(each) for each in events], "No records."))


def _row(event: AuditEvent) -> tuple[object, ...]:
    who = event.requestor
    # The service itself is named by its URL.
    addresses = (agent.network.address or "" for agent in event.agent if agent.network is not None)
    reason = f" ({event.outcome_desc})" if event.outcome_desc else ""
    return (
        event.recorded,
        event.act,
        _OUTCOMES.get(event.outcome, event.outcome) + reason,
        who.who.name if who is not None and who.who is not None else None,
        next((address for address in addresses if "://" not in address), None),
        next((e.description or (e.what and e.what.name) for e in event.entity), None),
    )
