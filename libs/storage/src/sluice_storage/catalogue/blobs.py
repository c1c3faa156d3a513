"""Contents that nothing refers to any more, and the removal of their objects.

A content goes in two steps. First, in the transaction that deletes the last file that refers to it, its row
is marked and its data key destroyed (`release_blobs`). Then, in a transaction that holds the row, the object
is removed. Whoever attaches the content meanwhile locks the same row and comes with an object of their own,
which takes its place (`sluice_storage.catalogue.attaching`). Objects that no row names are removed when they
are a day old: their attaching never ended, or their row has another one now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import asyncpg

from sluice_storage.objects import ObjectStore, name_of, plain_name
from sluice_storage.removals import may_remove

# A tombstone outlives whoever may still believe that its object is there.
_TOMBSTONE = timedelta(days=1)
# Contents removed in one transaction, which holds whoever brings one of them.
_BATCH = 100
# A name is `contents/` or `sha256/`, and then an object's or a hash's digits with one slash between.
_ORPHANS = """
    WITH asked AS MATERIALIZED (
        SELECT name, split_part(name, '/', 1) AS root,
            split_part(name, '/', 2) || split_part(name, '/', 3) AS digits
        FROM unnest($1::text[]) AS name
    ), objects AS MATERIALIZED (
        SELECT name, digits::uuid AS object FROM asked WHERE root = 'contents' AND digits ~ '^[0-9a-f]{32}$'
    ), plain AS MATERIALIZED (
        SELECT name, decode(digits, 'hex') AS sha256 FROM asked
        WHERE root = 'sha256' AND digits ~ '^[0-9a-f]{64}$'
    )
    SELECT name FROM objects o WHERE NOT EXISTS (SELECT FROM files.blobs b WHERE b.object = o.object)
    UNION ALL
    SELECT name FROM plain p WHERE NOT EXISTS (
        SELECT FROM files.blobs b WHERE b.sha256 = p.sha256 AND b.object IS NULL AND b.purged_at IS NULL
    )
"""


class Blobs:
    """Removes what nothing refers to.

    Parameters
    ----------
    pool
        Connections of a role that owns the `files` schema.
    objects
        Where contents are.
    now
        Gives the time.
    """

    def __init__(self, pool: asyncpg.Pool, objects: ObjectStore, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._objects = objects
        self._now = now

    async def purge(self, hashes: Iterable[bytes]) -> int:
        """Remove the objects of those of these contents that are marked; give how many were.

        While a backup is made none are: the marks stay.

        Raises
        ------
        ObjectStoreError
            The store failed; the marks stay, and so does what was not removed yet.
        """
        distinct = sorted(set(hashes))
        batches = [distinct[start : start + _BATCH] for start in range(0, len(distinct), _BATCH)]
        return sum([await self._purge(batch) for batch in batches])

    async def sweep(self, limit: int = 5000) -> int:
        """Remove up to `limit` marked contents, whoever marked them, and forget old marks."""
        rows = await self._pool.fetch(
            """
            SELECT sha256 FROM files.blobs WHERE removed_at IS NOT NULL AND purged_at IS NULL
            ORDER BY removed_at LIMIT $1
            """,
            limit,
        )
        removed = await self.purge(row["sha256"] for row in rows)
        await self._pool.execute(
            "DELETE FROM files.blobs WHERE removed_at IS NOT NULL AND purged_at < $1",
            self._now() - _TOMBSTONE,
        )
        return removed

    async def remove_orphans(self, shard: int) -> int:
        """Remove objects that no row names, a day after they came: their attaching never ended.

        Looks at those whose names begin with the byte `shard`. While a backup is made none are removed.
        Gives how many were.
        """
        before = self._now() - _TOMBSTONE
        removed = 0
        async for batch in self._objects.listed(shard):
            old = [name for name, stored in batch if stored < before]
            if old:
                removed += await self._remove_orphans(old)
        return removed

    async def _remove_orphans(self, names: list[str]) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            if not await may_remove(connection):
                return 0
            rows = await connection.fetch(_ORPHANS, names)
            await asyncio.gather(*(self._objects.remove(row["name"]) for row in rows))
        return len(rows)

    async def _purge(self, batch: list[bytes]) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            if not await may_remove(connection):
                return 0
            rows = await connection.fetch(
                """
                SELECT sha256, object FROM files.blobs
                WHERE sha256 = ANY($1) AND removed_at IS NOT NULL AND purged_at IS NULL
                ORDER BY sha256 FOR UPDATE
                """,
                batch,
            )
            marked = [row["sha256"] for row in rows]
            names = [
                plain_name(row["sha256"]) if row["object"] is None else name_of(row["object"]) for row in rows
            ]
            if marked:
                await asyncio.gather(*(self._objects.remove(name) for name in names))
                await connection.execute(
                    "UPDATE files.blobs SET purged_at = $2 WHERE sha256 = ANY($1)", marked, self._now()
                )
            return len(marked)
