"""Contents that nothing refers to any more, and the removal of their objects.

A content goes in two steps, so that a file that comes with the same content at that moment is never left
without it. First, in the transaction that deletes the last file that refers to it, its row is marked
(`release_blobs`). Then, in a transaction that holds the row, the object is removed. Whoever attaches the
content meanwhile locks the same row: before the second step it takes the mark away; after it, it finds the
object gone and brings it again (`sluice_storage.catalogue.attaching`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import asyncpg

from sluice_storage.objects import ObjectStore
from sluice_storage.removals import may_remove

# A tombstone outlives whoever may still believe that its object is there.
_TOMBSTONE = timedelta(days=1)
# Contents removed in one transaction, which holds whoever brings one of them.
_BATCH = 100


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

    async def mark_orphans(self, shard: int) -> int:
        """Mark stored contents that have no row, a day after they came: their attaching never ended.

        Looks at those whose hash begins with the byte `shard`. They are only marked here, and removed like
        any other, so that one that is attached at this moment is safe too. Gives how many there were.
        """
        before = self._now() - _TOMBSTONE
        marked = 0
        async for batch in self._objects.listed(shard):
            old = [sha256 for sha256, stored in batch if stored < before]
            if old:
                found = await self._pool.fetch(
                    """
                    INSERT INTO files.blobs (sha256, size, stored_on, removed_at)
                    SELECT h, 0, $2, $2 FROM unnest($1::bytea[]) h ORDER BY h
                    ON CONFLICT (sha256) DO UPDATE SET purged_at = NULL WHERE blobs.purged_at IS NOT NULL
                    RETURNING 1
                    """,
                    old,
                    self._now(),
                )
                marked += len(found)
        return marked

    async def _purge(self, batch: list[bytes]) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            if not await may_remove(connection):
                return 0
            rows = await connection.fetch(
                """
                SELECT sha256 FROM files.blobs
                WHERE sha256 = ANY($1) AND removed_at IS NOT NULL AND purged_at IS NULL
                ORDER BY sha256 FOR UPDATE
                """,
                batch,
            )
            marked = [row["sha256"] for row in rows]
            if marked:
                await asyncio.gather(*(self._objects.remove(sha256) for sha256 in marked))
                await connection.execute(
                    "UPDATE files.blobs SET purged_at = $2 WHERE sha256 = ANY($1)", marked, self._now()
                )
            return len(marked)
