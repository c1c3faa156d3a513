"""Load a folder of NDJSON: `python -m sluice_storage.resources.load DIR`.

Files are those that end with `.ndjson` or `.ndjson.gz`, in the folder itself. Lines that cannot be loaded are
listed by file, number and reason, and make the exit status 1.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from sluice_storage.pool import open_pool
from sluice_storage.postgres_option import postgres_option
from sluice_storage.resources.loader import Loader, Outcome

_ENDINGS = (".ndjson", ".ndjson.gz")
_SHOWN_ISSUES = 20


def files_in(folder: Path) -> list[Path]:
    """Give the folder's NDJSON files, by name."""
    return sorted(path for path in folder.iterdir() if path.name.endswith(_ENDINGS) and path.is_file())


async def load_folder(
    dsn: str,
    files: Sequence[Path],
    *,
    source: str | None = None,
    base: str | None = None,
    progress: Callable[[Path, int], None] | None = None,
) -> list[tuple[Path, Outcome, float]]:
    """Load the files one after the other; give what became of each and how many seconds it took.

    `progress` is told how many bytes of a file have been read.
    """
    pool = await open_pool(dsn, size=3, application="sluice-load", scans=False)
    try:
        loader = Loader(pool, source=source, base=base)
        done = []
        for path in files:
            began = time.perf_counter()
            outcome = await loader.load_file(
                path, progress=None if progress is None else partial(progress, path)
            )
            done.append((path, outcome, time.perf_counter() - began))
        return done
    finally:
        await pool.close()


def show(console: Console, done: Sequence[tuple[Path, Outcome, float]]) -> None:
    """Print what became of the files, and the lines that were not loaded."""
    table = Table(title="Loaded", title_justify="left")
    for heading in ("file", "lines", "new", "updated", "unchanged", "older", "invalid", "lines/s"):
        table.add_column(heading, justify="left" if heading == "file" else "right")
    for path, outcome, seconds in done:
        counts = (
            outcome.read,
            outcome.created,
            outcome.updated,
            outcome.unchanged,
            outcome.stale,
            outcome.invalid,
            round(outcome.read / max(seconds, 1e-6)),
        )
        table.add_row(path.name, *(f"{count:,}" for count in counts))
    console.print(table)
    issues = [issue for _, outcome, _ in done for issue in outcome.issues]
    for issue in issues[:_SHOWN_ISSUES]:
        console.print(f"{issue.file} line {issue.line}: {issue.problem}", highlight=False)
    more = sum(outcome.invalid for _, outcome, _ in done) - _SHOWN_ISSUES
    if more > 0:
        console.print(f"and {more:,} more")


def command(
    folder: Annotated[Path, typer.Argument(help="a folder with NDJSON files", exists=True, file_okay=False)],
    postgres: Annotated[str, postgres_option("role sluice_loader")] = "",
    source: Annotated[str | None, typer.Option(help="the source's id, noted with what is loaded")] = None,
    base: Annotated[str | None, typer.Option(help="the address of the FHIR server the files are of")] = None,
) -> None:
    """Load a folder of NDJSON files into the resource store."""
    files = files_in(folder)
    if not files:
        raise typer.BadParameter(f"{folder} has no files that end with {' or '.join(_ENDINGS)}")
    done = asyncio.run(load_folder(postgres, files, source=source, base=base))
    show(Console(), done)
    if any(outcome.invalid for _, outcome, _ in done):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line."""
    typer.run(command)


if __name__ == "__main__":
    main()
