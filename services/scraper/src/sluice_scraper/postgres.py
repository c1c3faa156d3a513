"""The scraper's side of the schema `documents` in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import asyncpg

from sluice_scraper.store import FetchedItem, ScrapedItem
from sluice_storage.asked_items import ASKED_ITEMS
from sluice_storage.coalesce import Coalescer
from sluice_storage.pool import TRANSIENT
from sluice_streaming.outcomes import unavailable

_Key = tuple[str, int]
_Row = tuple[str, int, ScrapedItem]
# Metadata keys hold no control characters, so one of them can stand between keys.
_BETWEEN = "\x1f"

available = partial(unavailable, "postgres", TRANSIENT)
"""Within it, a database that is away is told as `Unavailable`."""


_FIND = f"""
    SELECT asked.place, items.source, items.metadata, jobs.cancelled_at IS NOT NULL AS cancelled,
        octet_length(fetched.body) AS size,
        CASE WHEN octet_length(fetched.body) <= $3 THEN fetched.body END AS body,
        scraped.metadata AS made, cardinality(scraped.warnings) AS warnings
    {ASKED_ITEMS}
    LEFT JOIN documents.fetched USING (job, item) LEFT JOIN documents.scraped USING (job, item)
"""


class PostgresItems:
    """See `sluice_scraper.store.Items`.

    Parameters
    ----------
    pool
        A pool of a role that owns the schema `documents`.
    large
        Bodies above this many bytes are left out of what `find` gives.
    limit
        The most rows in one statement.
    """

    def __init__(self, pool: asyncpg.Pool, *, large: int, limit: int = 128) -> None:
        self._pool = pool
        self._large = large
        self._find: Coalescer[_Key, FetchedItem | None] = Coalescer(self._find_all, limit=limit)
        self._keep: Coalescer[_Row, None] = Coalescer(self._keep_all, limit=limit)

    async def find(self, job: str, items: Sequence[int]) -> Sequence[FetchedItem | None]:
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

    async def keep(self, job: str, scraped: Sequence[tuple[int, ScrapedItem]]) -> None:
        """See `Items.keep`."""
        with available():
            await self._keep.all([(job, item, made) for item, made in scraped])

    async def _find_all(self, keys: Sequence[_Key]) -> list[FetchedItem | None]:
        rows = await self._pool.fetch(
            _FIND,
            [job for job, _ in keys],
            [item for _, item in keys],
            self._large,
        )
        found: list[FetchedItem | None] = [None] * len(keys)
        for row in rows:
            made = row["made"]
            found[row["place"] - 1] = FetchedItem(
                source=row["source"],
                cancelled=row["cancelled"],
                size=row["size"],
                body=row["body"],
                metadata=row["metadata"],
                scraped=(made, row["warnings"]) if made is not None else None,
            )
        return found

    async def _keep_all(self, rows: Sequence[_Row]) -> list[None]:
        # The join leaves out items whose job was deleted meanwhile, whose foreign key would fail the batch.
        await self._pool.execute(
            "INSERT INTO documents.scraped (job, item, metadata, warnings, schema)"
            " SELECT job, item, made, string_to_array(lacking, $6), named"
            " FROM unnest($1::uuid[], $2::int[], $3::bytea[], $4::text[], $5::text[])"
            " AS kept (job, item, made, lacking, named) JOIN documents.items USING (job, item)"
            " ON CONFLICT (job, item) DO NOTHING",
            [job for job, _, _ in rows],
            [item for _, item, _ in rows],
            [scraped.metadata for _, _, scraped in rows],
            [_BETWEEN.join(scraped.warnings) for _, _, scraped in rows],
            [scraped.schema for _, _, scraped in rows],
            _BETWEEN,
        )
        return [None] * len(rows)
