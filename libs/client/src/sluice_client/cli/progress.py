"""Live progress: a bar on a terminal, a line now and then where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from sluice_client.models import ItemCounts, Job

# Without a terminal a line is written each time this share more of the items has ended.
_STEPS = 10


class Display(Protocol):
    """Shows how far something is."""

    def update(self, done: int, total: int, note: str) -> None:
        """Show that `done` of `total` are done."""


@dataclass
class _Bar:
    progress: Progress
    task: int

    def update(self, done: int, total: int, note: str) -> None:
        self.progress.update(self.task, completed=done, total=total or None, note=note)  # type: ignore[arg-type]


@dataclass
class _Lines:
    console: Console
    label: str
    told: int = -1

    def update(self, done: int, total: int, note: str) -> None:
        step = done * _STEPS // total if total else 0
        if step != self.told:
            self.told = step
            line = f"{self.label}: {done} of {total}" + (f", {note}" if note else "")
            self.console.print(line, soft_wrap=True)


@contextmanager
def showing(console: Console, label: str, *, quiet: bool = False, size: bool = False) -> Iterator[Display]:
    """Show progress on `console` while the block runs; `size` if what is counted are bytes."""
    if quiet:
        yield _Silent()
    elif not console.is_terminal:
        yield _Lines(console, label)
    else:
        amount = DownloadColumn() if size else MofNCompleteColumn()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            amount,
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console) as progress:
            yield _Bar(progress, progress.add_task(label, total=None, note=""))


class _Silent:
    def update(self, done: int, total: int, note: str) -> None:
        """Show nothing."""


@dataclass
class JobsProgress:
    """Adds several jobs' counts up and shows the sum.

    Parameters
    ----------
    expected
        How many items were submitted; jobs do not know theirs until they are planned.
    """

    display: Display
    expected: int = 0
    jobs: dict[str, Job] = field(default_factory=dict)

    def __call__(self, job: Job) -> None:
        """Take note of how a job stands now."""
        self.jobs[job.id] = job
        counts = total_of(list(self.jobs.values()))
        self.display.update(counts.ended, max(self.expected, counts.total), described(counts))


def total_of(jobs: Sequence[Job]) -> ItemCounts:
    """Add the counts of jobs up."""
    counts = [job.counts for job in jobs]
    return ItemCounts(
        **{name: sum(getattr(it, name) for it in counts) for name in ItemCounts.__struct_fields__}
    )


def described(counts: ItemCounts) -> str:
    """Give the counts in words, those that are not nought."""
    names = ("attached", "skipped", "failed", "cancelled")
    return ", ".join(f"{getattr(counts, name)} {name}" for name in names if getattr(counts, name))
