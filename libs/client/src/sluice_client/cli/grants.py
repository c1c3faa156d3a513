"""`sluice grants`: who may see whose data (operators)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from sluice_client.access import Grant
from sluice_client.cli.session import session_of, table
from sluice_client.client import SluiceClient

grants = typer.Typer(help="Who may see whose data (operators).", no_args_is_help=True)


@grants.command("add")
def add_grant(
    context: typer.Context,
    client: Annotated[str | None, typer.Option(help="the client it is given to, acting for itself")] = None,
    user: Annotated[str | None, typer.Option(help="or the user (user-…), through whatever client")] = None,
    group: Annotated[str | None, typer.Option(help="the group whose patients' data may be seen")] = None,
    all_patients: Annotated[bool, typer.Option("--all-patients", help="or everything")] = False,
    type_: Annotated[
        list[str] | None, typer.Option("--type", help="only this resource type; may be repeated")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="until when, such as 2027-01-31 (UTC)")
    ] = None,
) -> None:
    """Give a client or a user a grant; prints its id."""
    if (client is None) == (user is None):
        raise typer.BadParameter("give --client or --user")
    if (group is None) != all_patients:
        raise typer.BadParameter("give --group or --all-patients")
    until = None if expires is None else _time(expires)
    session = session_of(context)
    given = session.call(
        lambda sluice: sluice.give_grant(
            client=client,
            user=user,
            group=group,
            all_patients=all_patients,
            types=type_ or None,
            expires_on=until,
        )
    )
    session.show(given, lambda: given.id)


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("--expires takes a date or a time, such as 2027-01-31T12:00:00Z") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


@grants.command("list")
def list_grants(
    context: typer.Context,
    grantee: Annotated[str | None, typer.Option(help="only those of this client or user")] = None,
    group: Annotated[str | None, typer.Option(help="only those of this group")] = None,
    ended: Annotated[bool, typer.Option("--ended", help="also those that are revoked or expired")] = False,
) -> None:
    """List grants, the newest first."""
    session = session_of(context)

    async def work(client: SluiceClient) -> list[Grant]:
        return [it async for it in client.grants(grantee=grantee, group=group, ended=ended)]

    found = session.call(work)
    rows = [
        (
            it.id,
            it.client or it.user,
            "all patients" if it.all_patients else it.group,
            "all" if it.types is None else ", ".join(it.types),
            it.expires_on,
            it.state,
        )
        for it in found
    ]
    headings = ("id", "to", "patients", "types", "expires", "state")
    session.show(found, lambda: table(headings, rows, "No grants yet."))


@grants.command("revoke")
def revoke_grant(context: typer.Context, id_: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Take a grant back: what exports hold by it is not found any more."""
    session = session_of(context)
    session.call(lambda client: client.revoke_grant(id_))
    session.show({"revoked": id_}, lambda: "revoked")
