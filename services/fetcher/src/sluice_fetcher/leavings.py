"""What finished jobs left, in Postgres. When a job ended is the status service's knowledge."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from sluice_fetcher.postgres import available


class PostgresLeavings:
    """See `sluice_fetcher.janitor.Leavings`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def finished(self, after: datetime, before: datetime, limit: int) -> Sequence[tuple[str, datetime]]:
        """See `Leavings.finished`."""
        with available():
            rows = await self._pool.fetch(
                "SELECT job, finished_at FROM status.jobs"
                " WHERE finished_at > $1 AND finished_at <= $2"
                " ORDER BY finished_at FETCH FIRST $3 ROWS WITH TIES",
                after,
                before,
                limit,
            )
        return [(str(row["job"]), row["finished_at"]) for row in rows]

    async def clear(self, jobs: Sequence[str]) -> int:
        """See `Leavings.clear`."""
        with available():
            async with self._pool.acquire() as connection, connection.transaction():
                return sum(
                    [
                        _count(await connection.execute(statement, jobs))
                        for statement in (
                            "DELETE FROM documents.fetched WHERE job = ANY($1::uuid[])",
                            "DELETE FROM documents.scraped WHERE job = ANY($1::uuid[])",
                        )
                    ]
                )


def _count(done: str) -> int:
    return int(done.rpartition(" ")[2])
