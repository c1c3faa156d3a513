"""`sluice measures`: quality measures, for which data can be submitted (operators)."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from sluice_client.cli.session import Session, session_of, table
from sluice_client.client import SluiceClient
from sluice_client.measures import CodeFilter, DataRequirement, Measure, StoredArtifact

measures = typer.Typer(help="Quality measures (operators).", no_args_is_help=True)
_DATES = ["%Y-%m-%d"]


@measures.command("load")
def load_measures(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Bundles (JSON, or .gz)")],
) -> None:
    """Store measures as they are published; each file as a whole, or nothing of it."""
    session = session_of(context)

    async def work(client: SluiceClient) -> list[StoredArtifact]:
        return [each for file in files for each in await client.load_measures(file)]

    done = session.call(work, "load the files again: nothing is stored twice")
    session.show(done, lambda: listed_of(done))


@measures.command("list")
def list_measures(context: typer.Context) -> None:
    """List measures."""
    session = session_of(context)

    async def work(client: SluiceClient) -> list[Measure]:
        return [each async for each in client.measures()]

    found = session.call(work)
    rows = [(each.id, each.version, each.title or each.name, each.url) for each in found]
    session.show(found, lambda: table(("id", "version", "title", "url"), rows, "No measures yet."))


@measures.command("requirements")
def show_requirements(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="the measure's id")],
    start: Annotated[
        datetime | None, typer.Option(formats=_DATES, help="the first day that is measured (with --end)")
    ] = None,
    end: Annotated[datetime | None, typer.Option(formats=_DATES, help="the last day (with --start)")] = None,
) -> None:
    """Show which data a measure needs."""
    if (start is None) is not (end is None):
        raise typer.BadParameter("--start and --end go together")
    first, last = (None if each is None else each.date() for each in (start, end))
    session: Session = session_of(context)
    found = session.call(lambda client: client.data_requirements(id_, start=first, end=last))
    rows = [(each.type, *_filter(each)) for each in found]
    session.show(found, lambda: table(("type", "element", "codes"), rows, "It needs nothing."))


def listed_of(done: list[StoredArtifact]) -> str:
    """Say how many resources of each type are stored."""
    kinds = Counter(each.type for each in done)
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f"stored {listed}; {sum(each.created for each in done)} of them new"


def _filter(needed: DataRequirement) -> tuple[str, str]:
    paths = (each.path or "" for each in needed.code_filter)
    return ", ".join(paths), "; ".join(_codes(each) for each in needed.code_filter)


def _codes(wanted: CodeFilter) -> str:
    return wanted.value_set or ", ".join(str(each.get("code", "")) for each in wanted.code)
