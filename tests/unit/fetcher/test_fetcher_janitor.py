"""What finished jobs left goes in time, once, and never before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sluice_fetcher.janitor import Janitor
from sluice_streaming.outcomes import Unavailable
from sluice_streaming.rounds import repeat

START = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryLeavings:
    def __init__(self) -> None:
        self.ended: dict[str, datetime] = {}
        self.cleared: list[str] = []
        self.error: Exception | None = None
        self.looked = asyncio.Event()
        self.went = asyncio.Event()

    async def finished(self, after: datetime, before: datetime, limit: int) -> Sequence[tuple[str, datetime]]:
        self.looked.set()
        if self.error is not None:
            raise self.error
        found = sorted((time, job) for job, time in self.ended.items() if after < time <= before)
        last = found[:limit][-1][0] if found else None
        return [(job, time) for time, job in found if last is not None and time <= last]

    async def clear(self, jobs: Sequence[str]) -> int:
        self.cleared += jobs
        self.went.set()
        return 2 * len(jobs)


class Clock:
    def __init__(self) -> None:
        self.now = START.timestamp()

    def __call__(self) -> float:
        return self.now


def make(leavings: MemoryLeavings, clock: Clock) -> Janitor:
    return Janitor(leavings, timedelta(days=7), clock)


async def test_only_jobs_that_ended_long_enough_ago_are_cleared_and_each_once() -> None:
    leavings, clock = MemoryLeavings(), Clock()
    leavings.ended = {f"job{day}": START - timedelta(days=day) for day in range(1, 60)}
    janitor = make(leavings, clock)
    assert await janitor.sweep() == 2 * 53
    assert leavings.cleared == [f"job{day}" for day in range(59, 6, -1)]
    assert await janitor.sweep() == 0
    clock.now += timedelta(days=1).total_seconds()
    assert await janitor.sweep() == 2
    assert leavings.cleared[-1] == "job6"


async def test_jobs_that_ended_in_one_moment_are_all_cleared() -> None:
    leavings = MemoryLeavings()
    leavings.ended = {f"job{number}": START - timedelta(days=9) for number in range(50)}
    assert await make(leavings, Clock()).sweep() == 100


async def test_a_trouble_ends_a_round_and_not_the_janitor() -> None:
    leavings, clock = MemoryLeavings(), Clock()
    leavings.ended = {"job": START - timedelta(days=9)}
    stop = asyncio.Event()
    running = asyncio.create_task(repeat(stop, 0.001, make(leavings, clock).round, "clearing"))
    for error in (Unavailable("postgres"), RuntimeError("x")):
        leavings.error = error
        leavings.looked.clear()
        await leavings.looked.wait()
    leavings.error = None
    await leavings.went.wait()
    stop.set()
    await running
    assert leavings.cleared == ["job"]
