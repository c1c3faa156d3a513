"""Idempotency keys in Postgres."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from sluice_gateway.idempotency import Kept


def _kept(row: asyncpg.Record) -> Kept:
    return Kept(bytes(row["request"]), str(row["job"]), row["accepted_at"], row["published"])


class PostgresKeys:
    """Which job a client's idempotency key stands for (`gateway.idempotency`)."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def keep(self, client: str, subject: str, key: str, request: bytes, job: str, at: datetime) -> Kept:
        """Keep the key for `job` if it is new; give what it stands for in either case.

        The row is durable when this returns: a job must not be published under a key that a crash forgets.
        """
        # An update that changes nothing makes the row that is there be returned, and waits for a rival.
        row = await self._pool.fetchrow(
            """
            INSERT INTO gateway.idempotency AS kept (client, subject, key, request, job, accepted_at)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (client, subject, key) DO UPDATE SET key = kept.key
            RETURNING request, job, accepted_at, published
            """,
            client,
            subject,
            key,
            request,
            job,
            at,
        )
        assert row is not None  # noqa: S101 - the statement inserts a row or updates the one that is there
        return _kept(row)

    async def find(self, client: str, subject: str, key: str) -> Kept | None:
        """Give what the key stands for, None if it is new."""
        row = await self._pool.fetchrow(
            """
            SELECT request, job, accepted_at, published FROM gateway.idempotency
            WHERE (client, subject, key) = ($1, $2, $3)
            """,
            client,
            subject,
            key,
        )
        return None if row is None else _kept(row)

    async def published(self, client: str, subject: str, key: str) -> None:
        """Note that the job's first record is on Kafka."""
        await self._pool.execute(
            "UPDATE gateway.idempotency SET published = true WHERE (client, subject, key) = ($1, $2, $3)",
            client,
            subject,
            key,
        )

    async def forget(self, before: datetime) -> int:
        """Remove keys that were accepted before `before`; give how many."""
        status: str = await self._pool.execute(
            "DELETE FROM gateway.idempotency WHERE accepted_at < $1", before
        )
        return int(status.rpartition(" ")[2])
