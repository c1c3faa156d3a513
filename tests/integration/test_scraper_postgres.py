"""The scraper's rows in a real Postgres, under its own role."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from sluice_scraper.postgres import PostgresItems
from sluice_scraper.store import FetchedItem, ScrapedItem
from sluice_storage.pool import open_pool
from sluice_streaming.outcomes import Unavailable
from support.stack import Database

LARGE = 1000


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(database.dsn_for("scraper"), wait=10)
    yield opened
    await opened.close()


@pytest.fixture
def items(pool: asyncpg.Pool) -> PostgresItems:
    return PostgresItems(pool, large=LARGE)


async def plan(pool: asyncpg.Pool, count: int, *, bodies: bool = True, size: int = 20) -> str:
    job = str(uuid4())
    await pool.execute(
        "INSERT INTO documents.jobs (job, client, subject, conflict_resolution, tags, items, submitted_at)"
        " VALUES ($1, 'c', 's', 'SKIP', '{}', $2, now())",
        job,
        count,
    )
    await pool.execute(
        "INSERT INTO documents.items (job, item, reference, source, project, folder, metadata)"
        " SELECT $1, n, 'r', 's1', 'p', 'f', CASE WHEN n % 2 = 0 THEN '{}'::bytea END"
        " FROM generate_series(0, $2 - 1) AS n",
        job,
        count,
    )
    if bodies:
        await pool.execute(
            "INSERT INTO documents.fetched (job, item, body)"
            " SELECT $1, n, convert_to(rpad(n::text, $3, 'x'), 'UTF8') FROM generate_series(0, $2 - 1) AS n",
            job,
            count,
            size,
        )
    return job


def made(item: int) -> ScrapedItem:
    return ScrapedItem(b'{"k":%d}' % item, ("a", "é ü")[: item % 3], "s@1.0.0")


async def test_items_asked_for_together_are_each_given_their_own(
    pool: asyncpg.Pool, items: PostgresItems
) -> None:
    job, other = await plan(pool, 300), await plan(pool, 3, bodies=False)
    lots = [(job, range(first, first + 20)) for first in range(0, 300, 20)]
    lots += [(other, range(1, 2)), (job, range(300, 301)), (str(uuid4()), range(1))]
    found = [row for them in await asyncio.gather(*(items.find(*lot) for lot in lots)) for row in them]
    for item in range(300):
        row = found[item]
        assert row is not None
        assert row.body == str(item).ljust(20, "x").encode()
        assert row.metadata == (b"{}" if item % 2 == 0 else None)
    assert found[300] == FetchedItem("s1", cancelled=False, size=None, body=None, metadata=None, scraped=None)
    assert found[301] is None
    assert found[302] is None


async def test_a_large_body_is_left_out_and_given_by_itself(pool: asyncpg.Pool, items: PostgresItems) -> None:
    job = await plan(pool, 1, size=LARGE + 1)
    (row,) = await items.find(job, [0])
    assert row is not None
    assert (row.size, row.body) == (LARGE + 1, None)
    body = await items.body(job, 0)
    assert body is not None
    assert len(body) == LARGE + 1
    assert await items.body(job, 1) is None


async def test_metadata_is_kept_once_and_the_first_stays(pool: asyncpg.Pool, items: PostgresItems) -> None:
    job = await plan(pool, 50)
    pairs = [[(item, made(item)), (item + 1, made(item + 1))] for item in range(0, 50, 2)]
    await asyncio.gather(*(items.keep(job, pair) for pair in pairs))
    later = ScrapedItem(b"{}", (), "later@1.0.0")
    await asyncio.gather(*(items.keep(job, [(item % 50, later)]) for item in range(100)))
    for item in range(50):
        (row,) = await items.find(job, [item])
        assert row is not None
        assert row.scraped == (made(item).metadata, len(made(item).warnings))
    rows = await pool.fetch("SELECT item, warnings, schema FROM documents.scraped WHERE job = $1", job)
    assert {row["item"]: (tuple(row["warnings"]), row["schema"]) for row in rows} == {
        item: (made(item).warnings, "s@1.0.0") for item in range(50)
    }


async def test_an_item_deleted_meanwhile_harms_no_other_of_its_batch(
    pool: asyncpg.Pool, items: PostgresItems
) -> None:
    job = await plan(pool, 1)
    await items.keep(job, [(item, made(item)) for item in range(3)])
    assert await pool.fetchval("SELECT count(*) FROM documents.scraped WHERE job = $1", job) == 1


async def test_a_cancelled_job_is_seen(pool: asyncpg.Pool, items: PostgresItems) -> None:
    job = await plan(pool, 1)
    await pool.execute("UPDATE documents.jobs SET cancelled_at = now() WHERE job = $1", job)
    (row,) = await items.find(job, [0])
    assert row is not None
    assert row.cancelled


async def test_a_database_that_is_away_is_told_as_unavailable(
    pool: asyncpg.Pool, items: PostgresItems
) -> None:
    await pool.close()
    with pytest.raises(Unavailable):
        await items.find(str(uuid4()), [0])
    with pytest.raises(Unavailable):
        await items.keep(str(uuid4()), [(0, made(0))])
