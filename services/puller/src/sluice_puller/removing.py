"""Has what discarded jobs loaded taken back, one job after the other; what is due is in Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import structlog

from sluice_puller.store import Removals
from sluice_storage.pool import TRANSIENT
from sluice_streaming.outcomes import Unavailable
from sluice_streaming.rounds import repeat

log = structlog.get_logger(__name__)

_LEASE = timedelta(seconds=60)


class Removing:
    """Takes back what is due, round after round; any number of processes may do so.

    Parameters
    ----------
    removals
        Which jobs that is.
    withdraw
        Takes back what a job stored, and gives how many resources that changed; it may be done again.
    every
        Seconds between rounds.
    now
        Gives the time.
    """

    def __init__(
        self,
        removals: Removals,
        withdraw: Callable[[str], Awaitable[int]],
        *,
        every: float,
        now: Callable[[], datetime],
    ) -> None:
        self._removals = removals
        self._withdraw = withdraw
        self._every = every
        self._now = now

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; what is under way then is left to others."""
        working = asyncio.create_task(
            repeat(
                stop,
                self._every,
                self.round,
                waits="taking back waits",
                fails="taking back what was loaded failed",
            )
        )
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(working, stopping)

    async def round(self) -> None:
        """Take back everything that is due.

        Raises
        ------
        Unavailable
            The database is away; call again.
        """
        while (job := await self._removals.claim(self._now(), _LEASE)) is not None:
            renewing = asyncio.create_task(self._renew(job))
            try:
                changed = await self._withdraw(job)
            except TRANSIENT:
                raise Unavailable("postgres") from None
            finally:
                await _ended(renewing)
            await self._removals.removed(job, self._now())
            log.info("what an import loaded has been taken back", job=job, resources=changed)

    async def _renew(self, job: str) -> None:
        while True:
            await asyncio.sleep(_LEASE.total_seconds() / 3)
            await self._removals.renew(job, self._now() + _LEASE)


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
