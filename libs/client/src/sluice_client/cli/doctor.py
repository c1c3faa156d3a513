"""`sluice doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.markup import escape

from sluice_client.cli.session import INCOMPLETE, printable, session_of
from sluice_client.client import SluiceClient
from sluice_client.doctor import Doctor, State, worst
from sluice_client.models import Finding

_SIGNS = {
    State.OK: "[green]ok[/]      ",
    State.WARNING: "[yellow]warning[/] ",
    State.FAILING: "[red]failing[/] ",
    State.SKIPPED: "skipped ",
}


def doctor(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="the gateway; none: the one you are logged in at")
    ] = None,
) -> None:
    """Check a deployment from here, and say what is wrong and what to do.

    With an operator's profile the gateway is asked to look at all that is behind it, too. Ends with 1 if
    something is failing.
    """
    session = session_of(context)

    async def look() -> list[Finding]:
        auth_url, ca = None, session.ca
        if url is None:
            profile = session.config.profile(session.profile)
            where, auth_url, client = profile.url, profile.auth_url, profile.client(session.ca)
            ca = ca or (Path(profile.ca) if profile.ca else None)
        else:
            where, client = url, SluiceClient(url, ca=session.ca)
        async with client:
            return await Doctor(client, where.rstrip("/"), auth_url, ca).look()

    found = session.run(look)
    session.show(found, lambda: Group(*(_line(each) for each in found)))
    if worst(found) is State.FAILING:
        raise typer.Exit(INCOMPLETE)


def _line(found: Finding) -> str:
    advice = f"\n         {escape(printable(found.advice))}" if found.advice else ""
    sign = _SIGNS.get(State(found.state), "")
    return f"{sign} {escape(printable(found.name))}: {escape(printable(found.text))}{advice}"
