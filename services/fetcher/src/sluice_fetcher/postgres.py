"""The fetcher's tables in Postgres (schema `documents`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import asyncpg
import msgspec

from sluice_contracts.commands import ImportItem, StartDocumentImport
from sluice_fetcher.store import Body, WaitingItem
from sluice_storage.asked_items import ASKED_ITEMS
from sluice_storage.coalesce import Coalescer
from sluice_storage.pool import TRANSIENT
from sluice_streaming.outcomes import unavailable

_Key = tuple[str, int]
_Row = tuple[str, int, Body]

available = partial(unavailable, "postgres", TRANSIENT)
"""Within it, a database that is away is told as `Unavailable`."""


class PostgresJobs:
    """See `sluice_fetcher.store.Jobs`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def plan(self, command: StartDocumentImport) -> None:
        """See `Jobs.plan`."""
        with available():
            async with self._pool.acquire() as connection, connection.transaction():
                # A row of zero items is what a cancellation that came first left; it stays cancelled.
                await connection.execute(
                    "INSERT INTO documents.jobs"
                    " (job, client, subject, conflict_resolution, tags, items, submitted_at)"
                    " VALUES ($1, $2, $3, $4, $5, $6, $7)"
                    " ON CONFLICT (job) DO UPDATE SET client = excluded.client, subject = excluded.subject,"
                    " conflict_resolution = excluded.conflict_resolution, tags = excluded.tags,"
                    " items = excluded.items, submitted_at = excluded.submitted_at, planned_at = now()"
                    " WHERE jobs.items = 0",
                    command.job,
                    command.client,
                    command.subject,
                    command.conflict_resolution.value,
                    list(command.tags),
                    len(command.items),
                    datetime.fromtimestamp(command.submitted_at, UTC),
                )
                await self._insert_items(connection, command.job, command.items)

    async def cancel(self, job: str) -> None:
        """See `Jobs.cancel`."""
        with available():
            await self._pool.execute(
                "INSERT INTO documents.jobs"
                " (job, client, subject, conflict_resolution, tags, items, submitted_at, cancelled_at)"
                " VALUES ($1, '', '', 'SKIP', '{}', 0, now(), now())"
                " ON CONFLICT (job) DO UPDATE SET cancelled_at = coalesce(jobs.cancelled_at, now())",
                job,
            )

    async def _insert_items(
        self, connection: asyncpg.pool.PoolConnectionProxy, job: str, items: Sequence[ImportItem]
    ) -> None:
        await connection.execute(
            "INSERT INTO documents.items (job, item, reference, source, project, folder, name, metadata)"
            " SELECT $1, * FROM unnest($2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],"
            " $8::bytea[]) ON CONFLICT (job, item) DO NOTHING",
            job,
            list(range(len(items))),
            [item.reference for item in items],
            [item.source for item in items],
            [item.project for item in items],
            [item.folder for item in items],
            [item.name for item in items],
            [_metadata(item) for item in items],
        )


_FIND = f"""
    SELECT asked.place, items.reference, items.source, jobs.cancelled_at IS NOT NULL AS cancelled,
        octet_length(fetched.body) AS fetched
    {ASKED_ITEMS}
    LEFT JOIN documents.fetched USING (job, item)
"""


class PostgresDocuments:
    """See `sluice_fetcher.store.Documents`.

    Parameters
    ----------
    pool
        A pool of a role that owns the schema `documents`.
    limit
        The most rows in one statement.
    """

    def __init__(self, pool: asyncpg.Pool, *, limit: int = 256) -> None:
        self._pool = pool
        self._find: Coalescer[_Key, WaitingItem | None] = Coalescer(self._find_all, limit=limit)
        self._keep: Coalescer[_Row, None] = Coalescer(self._keep_all, limit=limit)

    async def find(self, job: str, items: Sequence[int]) -> Sequence[WaitingItem | None]:
        """See `Documents.find`."""
        with available():
            return await self._find.all([(job, item) for item in items])

    async def keep(self, job: str, bodies: Sequence[tuple[int, Body]]) -> None:
        """See `Documents.keep`."""
        with available():
            await self._keep.all([(job, item, body) for item, body in bodies])

    async def _find_all(self, keys: Sequence[_Key]) -> list[WaitingItem | None]:
        rows = await self._pool.fetch(
            _FIND,
            [job for job, _ in keys],
            [item for _, item in keys],
        )
        found: list[WaitingItem | None] = [None] * len(keys)
        for row in rows:
            found[row["place"] - 1] = WaitingItem(
                row["reference"], row["source"], row["cancelled"], row["fetched"]
            )
        return found

    async def _keep_all(self, rows: Sequence[_Row]) -> list[None]:
        # The join leaves out items whose job was deleted meanwhile, whose foreign key would fail the batch.
        await self._pool.execute(
            "INSERT INTO documents.fetched (job, item, body, etag, version)"
            " SELECT kept.* FROM unnest($1::uuid[], $2::int[], $3::bytea[], $4::text[], $5::text[])"
            " AS kept (job, item, body, etag, version) JOIN documents.items USING (job, item)"
            " ON CONFLICT (job, item) DO NOTHING",
            [job for job, _, _ in rows],
            [item for _, item, _ in rows],
            [body.data for _, _, body in rows],
            [body.etag for _, _, body in rows],
            [body.version for _, _, body in rows],
        )
        return [None] * len(rows)


def _metadata(item: ImportItem) -> bytes | None:
    if item.metadata is None:
        return None
    return msgspec.json.encode(item.metadata)
