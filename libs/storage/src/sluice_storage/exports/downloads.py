"""Holding a job's files while somebody reads them.

A row in `exports.downloads` says that files of a job are read; the expirer removes none of them before the
row is given back or was not renewed in time. One row serves all downloads of a job in a process, and is kept
for a while after the last of them, so that a client that fetches many files costs few statements.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import structlog

from sluice_storage.pool import TRANSIENT

log = structlog.get_logger(__name__)

SPAN = timedelta(seconds=90)
"""How long a row counts without being renewed."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class DeletedJobError(Exception):
    """The job was deleted, or never was: nothing of it may be read."""


@dataclass(slots=True)
class _Lease:
    id: UUID = field(default_factory=uuid4)
    readers: int = 0
    until: datetime = _LONG_AGO
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Downloads:
    """Holds jobs' files for this process. Run `renew` as a task beside it.

    Parameters
    ----------
    pool
        Connections of a role that may execute `exports.hold` and delete from `exports.downloads`.
    now
        Gives the time, as the expirer's clock does.
    span
        How long a row counts without being renewed.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        span: timedelta = SPAN,
    ) -> None:
        self._pool = pool
        self._now = now
        self._span = span
        self._leases: dict[str, _Lease] = {}

    @asynccontextmanager
    async def hold(self, job: str) -> AsyncIterator[None]:
        """Keep the job's files from being removed for the block.

        Raises
        ------
        DeletedJobError
            The job was deleted: as of its deletion no download begins, though others may still be under way.
        """
        lease = self._leases.setdefault(job, _Lease())
        lease.readers += 1
        try:
            async with lease.lock:
                # Whether it was deleted is asked anew for each download.
                if not await self._begin(job, lease):
                    raise DeletedJobError
            yield
        finally:
            lease.readers -= 1

    async def release(self, job: str) -> None:
        """Give the job's files back at once unless somebody reads them: the job was deleted."""
        if job in self._leases:
            await self._give_back([job])

    async def renew(self) -> None:
        """Renew what is held and give back what is not, until cancelled."""
        try:
            while True:
                await asyncio.sleep(self._span.total_seconds() / 3)
                try:
                    await self.turn()
                except TRANSIENT as error:
                    log.warning("renewing downloads waits", error=type(error).__name__)
        finally:
            with suppress(*TRANSIENT):
                await asyncio.shield(self._give_back(list(self._leases)))

    async def turn(self) -> None:
        """Renew what is held, and give back what is not."""
        held = {job: lease for job, lease in self._leases.items() if lease.readers}
        now = self._now()
        if held:
            await self._pool.execute(
                "SELECT exports.hold(h.job, h.lease, $3, $4)"
                " FROM unnest($1::uuid[], $2::uuid[]) AS h (job, lease)",
                list(held),
                [lease.id for lease in held.values()],
                now,
                self._span,
            )
        for lease in held.values():
            lease.until = now + self._span
        await self._give_back([job for job in self._leases if job not in held])

    async def _begin(self, job: str, lease: _Lease) -> bool:
        deleted = await self._pool.fetchval(
            "SELECT deleted_at IS NOT NULL FROM exports.jobs WHERE job = $1", job
        )
        if deleted is not False:
            return False
        now = self._now()
        if now + self._span / 2 < lease.until:
            return True
        held = await self._pool.fetchval(
            "SELECT exports.hold($1, $2, $3, $4)", job, lease.id, now, self._span
        )
        if held:
            lease.until = now + self._span
        return bool(held)

    async def _give_back(self, jobs: list[str]) -> None:
        idle = [self._leases.pop(job) for job in jobs if not self._leases[job].readers]
        if idle:
            await self._pool.execute(
                "DELETE FROM exports.downloads WHERE lease = ANY($1::uuid[])", [lease.id for lease in idle]
            )
