"""Has what discarded jobs loaded taken back, one job after the other; what is due is in Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from sluice_puller.store import Removals
from sluice_storage.pool import TRANSIENT
from sluice_streaming.beside import beside
from sluice_streaming.outcomes import Unavailable

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
    now
        Gives the time.
    """

    def __init__(
        self,
        removals: Removals,
        withdraw: Callable[[str], Awaitable[int]],
        now: Callable[[], datetime],
    ) -> None:
        self._removals = removals
        self._withdraw = withdraw
        self._now = now

    async def round(self) -> None:
        """Take back everything that is due.

        Raises
        ------
        Unavailable
            The database is away; call again.
        """
        while (job := await self._removals.claim(self._now(), _LEASE)) is not None:
            async with beside(self._renew(job)):
                try:
                    changed = await self._withdraw(job)
                except TRANSIENT:
                    raise Unavailable("postgres") from None
            await self._removals.removed(job, self._now())
            log.info("what an import loaded has been taken back", job=job, resources=changed)

    async def _renew(self, job: str) -> None:
        while True:
            await asyncio.sleep(_LEASE.total_seconds() / 3)
            await self._removals.renew(job, self._now() + _LEASE)
