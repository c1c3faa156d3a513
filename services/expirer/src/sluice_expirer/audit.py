"""Drops audit records whose time is over, a month at a time, and makes the months to come."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import asyncpg
import structlog

from sluice_expirer.postgres import available
from sluice_streaming.outcomes import Unavailable

log = structlog.get_logger(__name__)


class AuditRecords:
    """Keeps the months that audit records are in.

    Parameters
    ----------
    pool
        Connections of the role `sluice_expirer`, which may have months dropped and no single record.
    keep
        How long records are kept: a month goes when its last day is older.
    now
        Gives the time.
    """

    def __init__(self, pool: asyncpg.Pool, *, keep: timedelta, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._keep = keep
        self._now = now

    async def round(self) -> None:
        """Make the months to come, and drop those that are over.

        Raises
        ------
        Unavailable
            The database is away, or somebody reads what is to go; call again.
        """
        with available():
            try:
                gone = await self._pool.fetchval("SELECT audit.upkeep($1, $2)", self._now(), self._keep)
            except asyncpg.LockNotAvailableError:
                raise Unavailable("postgres") from None
        if gone:
            log.info("dropped months of audit records", count=gone)
