"""Removes versions of resources that were replaced long ago and that nobody can still want."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import asyncpg
import structlog
from prometheus_client import Counter

from sluice_puller.postgres_jobs import available
from sluice_storage.resources.model import Snapshot
from sluice_storage.resources.upkeep import prune

log = structlog.get_logger(__name__)

PRUNED = Counter("sluice_puller_pruned_total", "Replaced versions of resources that were removed.")
_LOCK = "SELECT pg_try_advisory_lock(hashtext('sluice_puller.pruning'))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtext('sluice_puller.pruning'))"
# What an export in progress reads stays, what a submission that may be stopped has replaced, and what is
# being put back. A batch's number and its time rise together.
_OLDEST = """
    SELECT batch, time FROM fhir.batches
    WHERE time < least($1::timestamptz, gateway.oldest_submission(),
            (SELECT min(submitted_at) FROM pulls.jobs WHERE removal_due IS NOT NULL))
        AND batch <= coalesce(exports.oldest_snapshot(), batch)
    ORDER BY batch DESC LIMIT 1
"""


class Pruning:
    """Removes replaced versions, round after round; of many processes one does so at a time.

    Parameters
    ----------
    pool
        Connections of the role `sluice_puller`.
    keep
        How long a version stays after it was replaced.
    now
        Gives the time.
    """

    def __init__(self, pool: asyncpg.Pool, keep: timedelta, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._keep = keep
        self._now = now

    async def round(self) -> None:
        """Remove what has had its time.

        Raises
        ------
        Unavailable
            The database is away; call again.
        """
        with available():
            async with self._pool.acquire() as connection:
                if not await connection.fetchval(_LOCK):
                    return
                try:
                    await self._prune(connection)
                finally:
                    await connection.execute(_UNLOCK)

    async def _prune(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        row = await connection.fetchrow(_OLDEST, self._now() - self._keep)
        if row is None:
            return
        removed = await prune(connection, Snapshot(row["batch"], row["time"]))
        if removed:
            PRUNED.inc(removed)
            log.info("replaced versions of resources have been removed", versions=removed)
