"""Exports' jobs in Postgres, as the expirer sees them. When a job ended is the status service's knowledge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

import asyncpg

from sluice_contracts.exports import ExpiryReason
from sluice_expirer.store import Due, Gone
from sluice_storage.pool import TRANSIENT
from sluice_storage.removals import may_remove
from sluice_streaming.outcomes import Unavailable

# What was cancelled or deleted is asked for by command at once; the round only catches what that missed.
_GRACE = timedelta(seconds=10)


@contextmanager
def available() -> Iterator[None]:
    """Turn the errors of a database that is away into `Unavailable`."""
    try:
        yield
    except TRANSIENT:
        raise Unavailable("postgres") from None


class PostgresJobs:
    """See `sluice_expirer.store.Jobs`.

    Parameters
    ----------
    pool
        Connections of the role `sluice_expirer`.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def withdraw(self, job: str, reason: ExpiryReason, at: datetime) -> None:
        """See `Jobs.withdraw`."""
        with available():
            await self._pool.fetchval("SELECT exports.withdraw($1, $2, $3)", job, reason.value, at)

    async def gone(self, job: str) -> Gone | None:
        """See `Jobs.gone`."""
        with available():
            row = await self._pool.fetchrow(
                "SELECT purged_at, reason FROM exports.jobs WHERE job = $1 AND purged_at IS NOT NULL", job
            )
        return None if row is None else _gone(row)

    async def held(self, job: str, now: datetime, longest: timedelta) -> bool:
        """See `Jobs.held`."""
        with available():
            held = await self._pool.fetchval(
                """
                SELECT EXISTS (SELECT FROM exports.downloads d JOIN exports.jobs j USING (job)
                    WHERE d.job = $1 AND d.until > $2 AND j.deleted_at > $3)
                """,
                job,
                now,
                now - longest,
            )
        return bool(held)

    async def may_remove(self) -> bool:
        """See `Jobs.may_remove`."""
        with available():
            return await may_remove(self._pool)

    async def purge(self, job: str, at: datetime) -> Gone:
        """See `Jobs.purge`."""
        with available():
            async with self._pool.acquire() as connection, connection.transaction():
                row = await connection.fetchrow(
                    """
                    UPDATE exports.jobs SET purged_at = coalesce(purged_at, $2), request = NULL, access = NULL
                    WHERE job = $1 AND deleted_at IS NOT NULL RETURNING purged_at, reason
                    """,
                    job,
                    at,
                )
                if row is None:
                    raise LookupError("only a deleted job is purged")
                await connection.execute("DELETE FROM exports.parts WHERE job = $1", job)
                await connection.execute("DELETE FROM exports.downloads WHERE job = $1", job)
        return _gone(row)

    async def due(self, now: datetime, after: str | None, limit: int) -> Sequence[Due]:
        """See `Jobs.due`."""
        with available():
            rows = await self._pool.fetch(
                """
                SELECT * FROM (
                    SELECT j.job, 'expired' AS reason FROM exports.jobs j JOIN status.jobs s USING (job)
                    WHERE j.deleted_at IS NULL AND j.cancelled_at IS NULL AND s.finished_at + j.keep <= $1
                    UNION ALL
                    SELECT job, 'cancelled' FROM exports.jobs
                    WHERE deleted_at IS NULL AND cancelled_at <= $2
                    UNION ALL
                    SELECT job, reason FROM exports.jobs WHERE purged_at IS NULL AND deleted_at <= $2
                ) AS due WHERE $3::uuid IS NULL OR job > $3 ORDER BY job LIMIT $4
                """,
                now,
                now - _GRACE,
                after,
                limit,
            )
        return [Due(str(row["job"]), ExpiryReason(row["reason"])) for row in rows]

    async def unswept(self, before: datetime, limit: int) -> Sequence[str]:
        """See `Jobs.unswept`."""
        with available():
            rows = await self._pool.fetch(
                "SELECT job FROM exports.jobs WHERE swept_at IS NULL AND purged_at <= $1"
                " ORDER BY purged_at LIMIT $2",
                before,
                limit,
            )
        return [str(row["job"]) for row in rows]

    async def swept(self, jobs: Sequence[str], at: datetime) -> None:
        """See `Jobs.swept`."""
        with available():
            await self._pool.execute(
                "UPDATE exports.jobs SET swept_at = $2 WHERE job = ANY($1::uuid[])", list(jobs), at
            )


def _gone(row: asyncpg.Record) -> Gone:
    return Gone(row["purged_at"], ExpiryReason(row["reason"]))
