"""Deletes what finished jobs left between the steps: fetched bodies and scraped metadata."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from sluice_streaming.outcomes import Unavailable
from sluice_telemetry.logs import describe

log = structlog.get_logger(__name__)

_BATCH = 20


class Leavings(Protocol):
    """Finished jobs and what is left of them; `sluice_fetcher.leavings` has the one in Postgres."""

    async def finished(self, after: datetime, before: datetime, limit: int) -> Sequence[tuple[str, datetime]]:
        """Give up to `limit` jobs that ended in (after, before] with their times, the earliest first.

        All jobs that ended at the last time given are among them.
        """

    async def clear(self, jobs: Sequence[str]) -> int:
        """Delete the bodies and metadata of these jobs; gives how many rows went."""


class Janitor:
    """Clears jobs that ended longer than `keep` ago, and looks again every `every` seconds.

    It goes through the finished jobs in the order in which they ended and remembers how far it came, so each
    round looks only at what ended since; a new process begins again from the first.

    Parameters
    ----------
    leavings
        Where they lie.
    keep
        How long they are kept after their job ended, for looking into what went wrong.
    every
        Seconds between rounds.
    clock
        Unix seconds.
    """

    def __init__(
        self, leavings: Leavings, keep: timedelta, *, every: float, clock: Callable[[], float]
    ) -> None:
        self._leavings = leavings
        self._keep = keep
        self._every = every
        self._clock = clock
        self._done = datetime.fromtimestamp(0, UTC)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        while not stop.is_set():
            try:
                rows = await self.sweep()
                if rows:
                    log.info("cleared finished jobs", rows=rows)
            except Unavailable as away:
                log.info("clearing waits", what=away.what)
            except Exception as error:
                # Imports go on without it; the next round tries again.
                log.error("clearing failed", **describe(error))  # noqa: TRY400
            try:
                async with asyncio.timeout(self._every):
                    await stop.wait()
            except TimeoutError:
                continue

    async def sweep(self) -> int:
        """Clear every job whose time has come; gives how many rows went.

        Raises
        ------
        Unavailable
            The database is away; what was cleared stays cleared.
        """
        before = datetime.fromtimestamp(self._clock(), UTC) - self._keep
        rows = 0
        while jobs := await self._leavings.finished(self._done, before, _BATCH):
            rows += await self._leavings.clear([job for job, _ in jobs])
            self._done = jobs[-1][1]
        return rows
