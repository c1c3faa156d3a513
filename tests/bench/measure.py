"""Measuring side by side: the thing and its physical limit take turns, and medians are compared.

Machines are shared and noisy, so a figure on its own says little. `side_by_side` runs the limit and the
subject in turn, so that both meet the same noise, and reports the median, the spread and the ratio of pairs.
"""

from __future__ import annotations

import asyncio
import os
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

console = Console(width=100)

Thing = tuple[str, Callable[[], Awaitable[float]]]
"""What is measured: its name, and what takes one reading."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Repeated readings of one thing, in one unit (higher is better unless the caller says otherwise)."""

    name: str
    unit: str
    readings: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle reading."""
        return statistics.median(self.readings)

    def row(self) -> tuple[str, str, str, str]:
        """Give name, median, lowest and highest for a table."""
        low, high = min(self.readings), max(self.readings)
        return self.name, f"{shown(self.median)} {self.unit}", shown(low), shown(high)


def shown(value: float) -> str:
    """Write a number with as many digits as it deserves."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def in_turn(repeats: int, unit: str, *things: Thing) -> list[Figure]:
    """Run some things in turn, `repeats` times each; each call gives one reading in `unit`.

    What one wrote is on the disk before the next begins, which would share processors and disk with it.
    """
    readings: list[list[float]] = [[] for _ in things]
    for _ in range(repeats):
        for (_, read), so_far in zip(things, readings, strict=True):
            await asyncio.to_thread(os.sync)
            so_far.append(await read())
    return [Figure(name, unit, tuple(read)) for (name, _), read in zip(things, readings, strict=True)]


async def side_by_side(repeats: int, limit: Thing, subject: Thing, unit: str) -> tuple[Figure, Figure]:
    """Run limit and subject in turn; see `in_turn`."""
    first, second = await in_turn(repeats, unit, limit, subject)
    return first, second


def report(title: str, figures: Sequence[Figure], notes: Sequence[str] = ()) -> None:
    """Print the figures as a table; the first is the limit that the others are set against."""
    table = Table(title=title, title_justify="left")
    for heading in ("what", "median", "lowest", "highest", "of the limit"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    base = figures[0]
    for figure in figures:
        pairs = [a / b for a, b in zip(figure.readings, base.readings, strict=False) if b]
        share = "" if figure is base or figure.unit != base.unit else f"{statistics.median(pairs):.0%}"
        table.add_row(*figure.row(), share)
    console.print(table)
    for note in notes:
        console.print(f"  {note}", highlight=False)
