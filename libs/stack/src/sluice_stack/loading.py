"""`sluice load`: NDJSON into the resource store, of this machine's stack or by an address of Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from sluice_client.cli.session import INCOMPLETE, session_of
from sluice_stack.home import Home
from sluice_stack.postgres import Postgres
from sluice_stack.stack import DATABASE
from sluice_stack.up import HomeFolder
from sluice_storage.resources.load import files_in, load_folder, show
from sluice_storage.resources.loader import Outcome

_ROLE = "sluice_loader"
_UNREACHABLE = 5
Loaded = Sequence[tuple[Path, Outcome, float]]


def store_of(home: Home) -> str:
    """Give the address of a stack's resource store, for loading."""
    return Postgres(home.folder / "postgres").dsn(_ROLE, DATABASE)


async def load_files(dsn: str, files: Sequence[Path], console: Console, **more: str | None) -> Loaded:
    """Load files with a bar on `console`; `more` is for `load_folder`."""
    total = sum(path.stat().st_size for path in files)
    have = dict.fromkeys(files, 0)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("loading", total=total)

        def told(path: Path, read: int) -> None:
            have[path] = read
            progress.update(task, completed=sum(have.values()))

        done = await load_folder(dsn, files, progress=told, **more)
        progress.update(task, completed=total)
        return done


def load(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="a folder with NDJSON files (.ndjson, .ndjson.gz)")],
    home: HomeFolder = Path(".sluice"),
    dsn: Annotated[
        str | None,
        typer.Option("--postgres", envvar="SLUICE_POSTGRES", help="another store, as role sluice_loader"),
    ] = None,
    source: Annotated[str | None, typer.Option(help="the source's id, noted with what is loaded")] = None,
    base: Annotated[str | None, typer.Option(help="the address of the FHIR server the files are of")] = None,
) -> None:
    """Load a folder of NDJSON files into the resource store (operators)."""
    session = session_of(context)
    files = files_in(folder) if folder.is_dir() else []
    if not files:
        raise typer.BadParameter(f"{folder} has no files that end with .ndjson or .ndjson.gz")
    if dsn is None and Home(home).running() is None:
        raise typer.BadParameter(f"no stack runs in {home}: start it, or give --postgres")
    shown = Console(quiet=True) if session.as_json else session.err
    try:
        done = asyncio.run(load_files(dsn or store_of(Home(home)), files, shown, source=source, base=base))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # Neither the address nor what the server says, which may repeat what is loaded.
        text = f"the load broke off ({type(error).__name__}); run it again to go on"
        session.err.print(f"[red]sluice:[/] {text}", soft_wrap=True)
        raise typer.Exit(_UNREACHABLE) from None
    except KeyboardInterrupt:
        session.err.print("sluice: interrupted; run it again to go on")
        raise typer.Exit(130) from None
    if session.as_json:
        session.show(_facts(done), lambda: "")
    else:
        show(session.out, done)
    if any(outcome.invalid for _, outcome, _ in done):
        raise typer.Exit(INCOMPLETE)


def _facts(done: Loaded) -> list[dict[str, Any]]:
    return [{"file": path.name, "seconds": seconds, "outcome": outcome} for path, outcome, seconds in done]
