"""The attacher's side of Postgres: it reads the schema `documents` and owns `files`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import asyncpg

from sluice_attacher.store import Outcome, ScrapedItem
from sluice_contracts.commands import ConflictResolution
from sluice_contracts.events import FileOutcome
from sluice_storage.asked_items import ASKED_ITEMS
from sluice_storage.catalogue.attaching import Attaching
from sluice_storage.catalogue.attachment import Attached, Attachment
from sluice_storage.coalesce import Coalescer
from sluice_storage.objects import ObjectStoreError
from sluice_storage.pool import TRANSIENT
from sluice_streaming.outcomes import unavailable

_Key = tuple[str, int]

available = partial(unavailable, "postgres", TRANSIENT)
"""Within it, a database that is away is told as `Unavailable`."""

_FIND = f"""
    SELECT asked.place, items.source, items.folder, items.name, jobs.conflict_resolution, jobs.tags,
        jobs.cancelled_at IS NOT NULL AS cancelled, octet_length(f.body) AS size,
        CASE WHEN octet_length(f.body) <= $3 THEN f.body END AS body, f.etag, f.version,
        s.metadata,
        done.outcome, done.entry, done.size AS attached_size, done.others
    {ASKED_ITEMS}
    LEFT JOIN documents.fetched f USING (job, item) LEFT JOIN documents.scraped s USING (job, item)
    LEFT JOIN files.imports done USING (job, item)
"""


class PostgresItems:
    """See `sluice_attacher.store.Items`.

    Parameters
    ----------
    pool
        A pool of the role `sluice_attacher`.
    attach
        Attaches a batch.
    large
        Bodies above this many bytes are left out of what `find` gives.
    limit
        The most rows in one statement.
    """

    def __init__(self, pool: asyncpg.Pool, attach: Attaching, *, large: int, limit: int = 128) -> None:
        self._pool = pool
        self._attach_all = attach
        self._large = large
        self._find: Coalescer[_Key, ScrapedItem | None] = Coalescer(self._find_all, limit=limit)
        self._attach: Coalescer[Attachment, Outcome] = Coalescer(self._attach_each, limit=limit)

    async def find(self, job: str, items: Sequence[int]) -> Sequence[ScrapedItem | None]:
        """See `Items.find`."""
        with available():
            return await self._find.all([(job, item) for item in items])

    async def body(self, job: str, item: int) -> bytes | None:
        """See `Items.body`."""
        with available():
            body: bytes | None = await self._pool.fetchval(
                "SELECT body FROM documents.fetched WHERE job = $1 AND item = $2", job, item
            )
            return body

    async def attach(self, attachments: Sequence[Attachment]) -> Sequence[Outcome]:
        """See `Items.attach`."""
        with available(), unavailable("objects", (ObjectStoreError,)):
            return await self._attach.all(attachments)

    async def _attach_each(self, batch: Sequence[Attachment]) -> list[Outcome]:
        try:
            return list(await self._attach_all(batch))
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            if len(batch) == 1:
                return [error]
        # One row that Postgres does not take must not fail those that came with it.
        return [(await self._attach_each([attachment]))[0] for attachment in batch]

    async def _find_all(self, keys: Sequence[_Key]) -> list[ScrapedItem | None]:
        rows = await self._pool.fetch(
            _FIND, [job for job, _ in keys], [item for _, item in keys], self._large
        )
        found: list[ScrapedItem | None] = [None] * len(keys)
        for row in rows:
            found[row["place"] - 1] = ScrapedItem(
                source=row["source"],
                folder=row["folder"],
                name=row["name"],
                rule=ConflictResolution(row["conflict_resolution"]),
                tags=tuple(row["tags"]),
                cancelled=row["cancelled"],
                attached=_attached(row),
                size=row["size"],
                body=row["body"],
                metadata=row["metadata"],
                etag=row["etag"],
                version=row["version"],
            )
        return found


def _attached(row: asyncpg.Record) -> Attached | None:
    if row["outcome"] is None:
        return None
    return Attached(FileOutcome(row["outcome"]), row["entry"], row["attached_size"], row["others"])
