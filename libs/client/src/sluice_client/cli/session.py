"""What every command shares: the options before it, how it calls the service, and how it ends.

Exit codes: 0 all went well; 1 an import had items without a file, an export or a bulk import has errors to
report, or an error of the service; 2 wrong usage; 3 not logged in, or not allowed; 4 there is no such thing;
5 the service cannot be reached; 130 interrupted.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sluice_client.cli.config import Config, ConfigError
from sluice_client.client import SluiceClient
from sluice_client.data_submissions import DataFileError
from sluice_client.errors import (
    AuthenticationError,
    ExportFolderError,
    KeyFileError,
    NotFoundError,
    SluiceError,
    UnreachableError,
    sentences,
)
from sluice_client.importing import ImportFileError
from sluice_client.measures import MeasureFileError

T = TypeVar("T")

INCOMPLETE = 1
_MOST_PROBLEMS = 3
_CODES: tuple[tuple[type[SluiceError], int], ...] = (
    (ImportFileError, 2),
    (ExportFolderError, 2),
    (KeyFileError, 2),
    (MeasureFileError, 2),
    (DataFileError, 2),
    (ConfigError, 3),
    (AuthenticationError, 3),
    (NotFoundError, 4),
    (UnreachableError, 5),
)


@dataclass(frozen=True, slots=True)
class Session:
    """The options before the command.

    Parameters
    ----------
    profile
        The name of the profile to use.
    as_json
        Whether to print JSON for scripts instead of text for people.
    ca
        A file with further certificates to trust.
    """

    config: Config
    profile: str
    as_json: bool
    out: Console
    err: Console
    ca: Path | None = None

    def call(
        self, work: Callable[[SluiceClient], Awaitable[T]], interrupted: str | Callable[[], str] = ""
    ) -> T:
        """Do `work` with a client of the profile, and end the process clearly if it fails.

        `interrupted` says what happens, or what to do, after Ctrl-C.
        """

        async def run() -> T:
            async with self.config.profile(self.profile).client(self.ca) as client:
                return await work(client)

        return self.run(run, interrupted)

    def run(self, work: Callable[[], Awaitable[T]], interrupted: str | Callable[[], str] = "") -> T:
        """Do `work`; a failure becomes one line on stderr and an exit code."""

        async def run() -> T:
            return await work()

        try:
            return asyncio.run(run())
        except SluiceError as error:
            self.err.print(f"[red]sluice:[/] {escape(one_line(error))}", soft_wrap=True)
            raise typer.Exit(exit_code(error)) from None
        except KeyboardInterrupt:
            told = interrupted() if callable(interrupted) else interrupted
            what_now = told or "a submitted job goes on"
            self.err.print(f"sluice: interrupted; {escape(what_now)}", soft_wrap=True)
            raise typer.Exit(130) from None

    def show(self, value: Any, text: Callable[[], Any]) -> None:
        """Print a result: as JSON if that is asked for, else what `text` makes."""
        if self.as_json:
            self.out.file.write(msgspec.json.encode(value).decode() + "\n")
        else:
            self.out.print(text())


def one_line(error: SluiceError) -> str:
    """Give an error as one line; of many problems that the service lists, the first few."""
    problems = error.message.split("; ")
    if len(problems) > _MOST_PROBLEMS:
        problems[_MOST_PROBLEMS:] = [f"and {len(problems) - _MOST_PROBLEMS} more"]
    return printable(sentences("; ".join(problems), error.advice))


def exit_code(error: SluiceError) -> int:
    """Give the exit code that tells a script what kind of error it was."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), 1)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> Table | str:
    """Give rows as a table, or a sentence when there are none; texts are shown as they are, not as markup."""
    if not rows:
        return empty
    made = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        # The first column is what other commands are given: it must stay whole.
        made.add_column(heading, overflow="fold", no_wrap=number == 0)
    for row in rows:
        made.add_row(*(escape(printable("" if cell is None else str(cell))) for cell in row))
    return made


def printable(text: str) -> str:
    """Give a text without characters that would steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def text_of(source: Path) -> str:
    """Read a text from a file, or from standard input for `-`; SluiceError if that cannot be read."""
    try:
        return sys.stdin.read() if str(source) == "-" else source.read_text(encoding="utf-8")
    except OSError as error:
        raise SluiceError(f"{source} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SluiceError(f"{source} is no text.") from None


def session_of(context: typer.Context) -> Session:
    """Give the session that the main command made."""
    found: Session = context.obj
    return found
