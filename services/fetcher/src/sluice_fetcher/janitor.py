"""Deletes what finished jobs left between the steps: fetched bodies and scraped metadata."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

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
    """Clears jobs that ended longer than `keep` ago.

    It goes through the finished jobs in the order in which they ended and remembers how far it came, so each
    round looks only at what ended since; a new process begins again from the first.

    Parameters
    ----------
    leavings
        Where they lie.
    keep
        How long they are kept after their job ended, for looking into what went wrong.
    clock
        Unix seconds.
    """

    def __init__(self, leavings: Leavings, keep: timedelta, clock: Callable[[], float]) -> None:
        self._leavings = leavings
        self._keep = keep
        self._clock = clock
        self._done = datetime.fromtimestamp(0, UTC)

    async def round(self) -> None:
        """Clear every job whose time has come; raises as `sweep`."""
        if rows := await self.sweep():
            log.info("cleared finished jobs", rows=rows)

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
