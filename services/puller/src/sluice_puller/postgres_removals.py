"""Which jobs' data are to be taken back, in Postgres (`pulls.jobs`)."""

from __future__ import annotations

from datetime import datetime, timedelta

import asyncpg

from sluice_puller.postgres_jobs import available


class PostgresRemovals:
    """See `sluice_puller.store.Removals`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def claim(self, now: datetime, lease: timedelta) -> str | None:
        """See `Removals.claim`."""
        with available():
            found: str | None = await self._pool.fetchval(
                """
                UPDATE pulls.jobs SET removal_due = $2 WHERE job = (
                    SELECT job FROM pulls.jobs WHERE removal_due <= $1
                    ORDER BY removal_due LIMIT 1 FOR UPDATE SKIP LOCKED
                ) RETURNING job::text
                """,
                now,
                now + lease,
            )
        return found

    async def renew(self, job: str, until: datetime) -> None:
        """See `Removals.renew`."""
        with available():
            await self._pool.execute(
                "UPDATE pulls.jobs SET removal_due = $2 WHERE job = $1 AND removal_due IS NOT NULL",
                job,
                until,
            )

    async def removed(self, job: str, at: datetime) -> None:
        """See `Removals.removed`."""
        with available():
            await self._pool.execute(
                "UPDATE pulls.jobs SET removed_at = coalesce(removed_at, $2), removal_due = NULL"
                " WHERE job = $1",
                job,
                at,
            )
