"""Forgets imports and submissions when their time has come: what became of them, not what they loaded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import asyncpg
import structlog

from sluice_expirer.postgres import available

log = structlog.get_logger(__name__)

_AT_ONCE = 200
# A process that was loading when an import was deleted notes something for a moment longer.
_LATE = timedelta(hours=1)
# When a job ended is the status service's knowledge. A row without content stays, or the job's id would look
# like a new one's. What a submission loaded is told of as long as the submission is.
_DUE = """
    SELECT j.job FROM pulls.jobs j JOIN status.jobs s USING (job)
    WHERE j.deleted_at IS NULL AND s.finished_at <= $1
        AND NOT EXISTS (SELECT FROM gateway.submission_manifests m WHERE m.job = j.job)
    UNION ALL
    SELECT j.job FROM pulls.jobs j WHERE j.deleted_at <= $2 AND (
        EXISTS (SELECT FROM pulls.files f WHERE f.job = j.job)
        OR EXISTS (SELECT FROM pulls.patients p WHERE p.job = j.job)
        OR EXISTS (SELECT FROM pulls.kept k WHERE k.job = j.job)
        OR EXISTS (SELECT FROM pulls.mentions m WHERE m.job = j.job)
        OR EXISTS (SELECT FROM pulls.staged s WHERE s.job = j.job)
    )
    LIMIT $3
"""


class Imports:
    """Forgets imports, and submissions with theirs.

    Parameters
    ----------
    pool
        Connections of the role `sluice_expirer`.
    keep
        How long after its end an import or a submission is kept.
    now
        Gives the time.
    """

    def __init__(self, pool: asyncpg.Pool, *, keep: timedelta, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._keep = keep
        self._now = now

    async def round(self) -> None:
        """Forget every submission and every import whose time has come.

        Raises
        ------
        Unavailable
            The database is away; call again.
        """
        with available():
            gone = await self._pool.fetchval(
                "SELECT gateway.forget_submissions($1)", self._now() - self._keep
            )
        if gone:
            log.info("forgot submissions", count=gone)
        while True:
            now = self._now()
            with available():
                due = await self._pool.fetch(_DUE, now - self._keep, now - _LATE, _AT_ONCE)
                for row in due:
                    await self._pool.execute("SELECT pulls.withdraw($1, $2)", row["job"], now)
            if due:
                log.info("forgot imports", count=len(due))
            if len(due) < _AT_ONCE:
                return
