"""A bulk import's progress: the source at its export, then the service at loading it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from sluice_client.pull_requests import PullStatus

_EXPORTING, _LOADING = "the source exports", "loading"


class PullProgress(Protocol):
    """Is told how an import stands."""

    def __call__(self, status: PullStatus) -> None:
        """Show it."""


class PullBar:
    """Shows an import on a terminal, as one bar that begins anew when loading begins."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task(_EXPORTING, total=None)

    def __call__(self, status: PullStatus) -> None:
        """Move the bar."""
        self._progress.update(
            self._task,
            description=_EXPORTING if status.exporting else _LOADING,
            total=None if status.percent is None else 100,
            completed=status.percent or 0,
        )


class PullLines:
    """Tells of an import where there is no terminal: a line for every ten per cent."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: tuple[str, int | None] | None = None

    def __call__(self, status: PullStatus) -> None:
        """Say how it stands, if that has changed enough."""
        what = _EXPORTING if status.exporting else _LOADING
        now = (what, None if status.percent is None else status.percent // 10 * 10)
        if now != self._told:
            self._told = now
            self._console.print(what if status.percent is None else f"{what}: {status.percent}%")


@contextmanager
def showing_pull(console: Console, *, quiet: bool) -> Iterator[PullProgress]:
    """Show an import's progress while the block runs."""
    if quiet:
        yield _silent
    elif not console.is_terminal:
        yield PullLines(console)
    else:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console) as progress:
            yield PullBar(progress)


def _silent(status: PullStatus) -> None:
    """Show nothing."""
