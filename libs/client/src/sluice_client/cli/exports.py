"""`sluice exports`: what was begun here, and getting rid of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from sluice_client.cli.session import session_of, table
from sluice_client.export_folder import STATE, ExportState, read_state

exports = typer.Typer(help="Exports begun on this machine.", no_args_is_help=True)
_DEPTH = 3


@exports.command("list")
def list_exports(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="where to look, with the folders in it")] = Path(),
) -> None:
    """List the exports in folders here, and how far each is; asks no service."""
    session = session_of(context)

    async def work() -> list[tuple[Path, ExportState]]:
        states = ((path, read_state(path)) for path in sorted(_folders(folder)))
        return [(path, state) for path, state in states if state is not None]

    found = session.run(work)
    shown = [
        {
            "folder": str(path),
            "state": _state(state),
            "level": state.request.level,
            "group": state.request.group,
            "files": len(state.files),
            "downloaded": sum(kept.done for kept in state.files),
            "started": state.started,
        }
        for path, state in found
    ]
    headings = ("folder", "state", "level", "group", "files", "downloaded", "started")
    rows = [tuple(row.values()) for row in shown]
    session.show(shown, lambda: table(headings, rows, f"No exports in {folder}."))


def _folders(folder: Path, depth: int = _DEPTH) -> Iterator[Path]:
    if (folder / STATE).is_file():
        yield folder
    elif depth and folder.is_dir():
        for inner in folder.iterdir():
            if inner.is_dir() and not inner.is_symlink() and not inner.name.startswith("."):
                yield from _folders(inner, depth - 1)


def _state(state: ExportState) -> str:
    if state.complete:
        return "complete" if state.deleted else "complete, kept at the service"
    if state.location is None:
        return "starting"
    return "downloading" if state.files else "running"


@exports.command("delete")
def delete_export(
    context: typer.Context, folder: Annotated[Path, typer.Argument(help="the folder it was begun in")]
) -> None:
    """Delete an export: cancel it at the service, and remove its files there and here."""
    session = session_of(context)
    session.call(lambda client: client.abandon_export(folder))
    session.show({"deleted": str(folder)}, lambda: "deleted")
