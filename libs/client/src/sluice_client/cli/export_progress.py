"""An export's progress: how far the service is, and a bar for each type that is downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from sluice_client.cli.session import printable
from sluice_client.export_run import ExportProgress
from sluice_client.manifests import ExportFile, ExportFileKind
from sluice_contracts.words import counted


def label(file: ExportFile) -> str:
    """Give what a file's bar, or line in a table, is called."""
    type_ = printable(file.type or "resources")
    return type_ if file.kind is ExportFileKind.OUTPUT else f"{type_} ({file.kind})"


@dataclass
class _Kind:
    """The files of one bar: their sizes as far as they are known, and what is here of each."""

    task: TaskID
    sizes: dict[str, int] = field(default_factory=dict)
    have: dict[str, int] = field(default_factory=dict)


class ExportBars(ExportProgress):
    """Shows an export on a terminal: a bar for the service's work, and one per type for the downloads."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._service = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._service.add_task("exporting", total=None)
        self._types = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
        )
        self._kinds: dict[str, _Kind] = {}

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it while the block runs."""
        with Live(Group(self._service, self._types), console=self._console, refresh_per_second=8):
            yield

    def running(self, said: str, percent: float | None) -> None:  # noqa: ARG002 - the bar says it
        """Move the service's bar."""
        if percent is not None:
            self._service.update(self._task, total=100, completed=percent)

    def listed(self, file: ExportFile, name: str, have: int) -> None:  # noqa: ARG002 - by type, not by name
        """Add a file to its type's bar."""
        called = label(file)
        if called not in self._kinds:
            self._kinds[called] = _Kind(self._types.add_task(escape(called), total=None))
        kind = self._kinds[called]
        kind.sizes[file.url] = file.size or 0
        kind.have[file.url] = have
        self._update(kind)

    def received(self, file: ExportFile, have: int) -> None:
        """Move its type's bar."""
        kind = self._kinds[label(file)]
        kind.have[file.url] = have
        self._update(kind)

    def finished(self, file: ExportFile) -> None:
        """Move its type's bar, also where the size was not known before."""
        kind = self._kinds[label(file)]
        kind.have[file.url] = max(kind.have[file.url], file.size or 0)
        kind.sizes[file.url] = kind.have[file.url]
        self._update(kind)

    def _update(self, kind: _Kind) -> None:
        total = sum(kind.sizes.values()) or None
        self._types.update(kind.task, total=total, completed=sum(kind.have.values()))


class ExportLines(ExportProgress):
    """Tells of an export where there is no terminal: a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: str | None = None
        self._listed: dict[str, int] = {}
        self._finished: dict[str, int] = {}

    def running(self, said: str, percent: float | None) -> None:
        """Say what the service says, in steps of ten per cent."""
        step = said.partition(" ")[0] if percent is None else f"{percent // 10 * 10:.0f}%"
        if step and step != self._said:
            self._said = step
            self._console.print(f"exporting: {printable(said)}", soft_wrap=True, markup=False)

    def listed(self, file: ExportFile, name: str, have: int) -> None:  # noqa: ARG002 - files are counted
        """Count a file."""
        called = label(file)
        self._listed[called] = self._listed.get(called, 0) + 1

    def finished(self, file: ExportFile) -> None:
        """Say that all files of a type that are listed are here."""
        called = label(file)
        self._finished[called] = self._finished.get(called, 0) + 1
        if self._finished[called] == self._listed[called]:
            self._console.print(
                f"{called}: {self._finished[called]} of {counted(self._listed[called], 'file')}", markup=False
            )


@contextmanager
def showing_export(console: Console, *, quiet: bool) -> Iterator[ExportProgress]:
    """Show an export's progress while the block runs."""
    if quiet:
        yield ExportProgress()
    elif not console.is_terminal:
        yield ExportLines(console)
    else:
        bars = ExportBars(console)
        with bars.shown():
            yield bars
