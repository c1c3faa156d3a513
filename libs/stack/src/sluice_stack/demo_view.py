"""What the demo shows: progress while documents arrive, and what became of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from sluice_client import ImportResult, ItemCounts, Job
from sluice_contracts.words import counted
from sluice_stack.home import Addresses

_MOST = 0.9


class Pace:
    """How fast items ended: over the first nine tenths, since the rest wait for their sources' sake.

    Parameters
    ----------
    total
        How many items there are.
    clock
        Gives seconds.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = max(1, int(total * _MOST))
        self._clock = clock
        self._began = clock()
        self._reached: tuple[int, float] | None = None

    def ended(self, count: int) -> None:
        """Take note of how many have ended by now."""
        if self._reached is None and count >= self._most:
            self._reached = count, self._clock()

    @property
    def rate(self) -> float | None:
        """Items a second, None until nine tenths have ended."""
        if self._reached is None:
            return None
        count, at = self._reached
        return count / max(at - self._began, 1e-9)


class Board:
    """One bar per job and one for all, updated as jobs change."""

    def __init__(self, console: Console, total: int) -> None:
        self._counts: dict[str, ItemCounts] = {}
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}", style="bold"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._all = self._progress.add_task("all", total=total, note="")
        self.live = Live(self._render(), console=console, refresh_per_second=8)
        self.pace = Pace(total)

    def changed(self, job: Job) -> None:
        """Show a job as it is now."""
        if job.id not in self._bars:
            name = f"job {len(self._bars) + 1}"
            self._bars[job.id] = self._progress.add_task(name, total=job.counts.total or None, note="")
        self._counts[job.id] = job.counts
        self._progress.update(
            self._bars[job.id],
            completed=job.counts.ended,
            total=job.counts.total or None,
            note=_note(job.counts),
        )
        every = sum_of(list(self._counts.values()))
        self.pace.ended(every.ended)
        self._progress.update(self._all, completed=every.ended, note=_note(every))
        self.live.update(self._render())

    def _render(self) -> RenderableType:
        return Group(self._progress)


def sum_of(counts: Sequence[ItemCounts]) -> ItemCounts:
    """Add counts up."""
    return ItemCounts(
        total=sum(each.total for each in counts),
        attached=sum(each.attached for each in counts),
        skipped=sum(each.skipped for each in counts),
        failed=sum(each.failed for each in counts),
        cancelled=sum(each.cancelled for each in counts),
        pending=sum(each.pending for each in counts),
    )


def _note(counts: ItemCounts) -> str:
    shown = [
        f"[green]{counts.attached}[/] attached",
        f"[yellow]{counts.skipped}[/] skipped",
        f"[red]{counts.failed}[/] failed",
    ]
    return "  ".join(shown)


def result_table(results: Sequence[ImportResult], rate: float | None, seconds: float) -> Table:
    """Make the table that the demo ends with."""
    states = Counter(result.state for result in results)
    reasons = Counter(result.error.message for result in results if result.error is not None)
    size = sum(result.resource.size or 0 for result in results if result.resource is not None)
    table = Table(title=counted(len(results), "document"), title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("how many", justify="right")
    table.add_row("[green]attached[/]", str(states["ATTACHED"]))
    table.add_row("[yellow]skipped[/] (the folder had the name already)", str(states["SKIPPED"]))
    table.add_row("[red]failed[/]", str(states["FAILED"]), end_section=True)
    for message, count in sorted(reasons.items(), key=lambda each: (-each[1], each[0])):
        table.add_row(f"  {message}", str(count))
    table.add_section()
    table.add_row("content", f"{size / 2**20:.1f} MB")
    table.add_row("time, with the pauses that failing sources asked for", f"{seconds:.1f} s")
    if rate is not None:
        table.add_row("rate, over the first nine tenths", f"{rate:.0f} documents/s")
    return table


def metadata_table(title: str, metadata: dict[str, object]) -> Table:
    """Show what was scraped for one file."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    for key, value in sorted(metadata.items()):
        table.add_row(key, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
    return table


def further(config: Path, project: str, job: str, addresses: Addresses, *, running: bool) -> str:
    """Say what to do next."""
    lines = [] if running else ["make up   # the same stack with the same data; then, in another terminal:"]
    lines += [
        f"export SLUICE_CONFIG={config}",
        ".venv/bin/sluice jobs",
        f".venv/bin/sluice job {job} --failed",
        f".venv/bin/sluice files --project {project}",
        f".venv/bin/sluice download {project} --to downloads",
        f".venv/bin/sluice pull '{addresses.source}/synthea/fhir/$export' --type Patient --wait",
        ".venv/bin/sluice --profile exporter export --patients --type Patient,Condition --to exported",
        ".venv/bin/sluice --profile operator grants list",
        ".venv/bin/sluice --profile operator sources list",
        ".venv/bin/sluice-topics list",
    ]
    return (
        "\n".join(lines)
        + f"\n\nThe page: {addresses.gateway}/   The API's documentation: {addresses.gateway}/docs"
    )
