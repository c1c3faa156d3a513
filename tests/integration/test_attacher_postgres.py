"""The attacher's reads and writes in Postgres, batched, under its own role."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from msgspec.structs import replace

from sluice_attacher.postgres import PostgresItems
from sluice_contracts.commands import ConflictResolution
from sluice_storage.catalogue.attachment import Attached
from sluice_streaming.outcomes import Unavailable
from support.catalogue import Bench, open_bench
from support.stack import Database


@pytest.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    async with open_bench(database) as opened:
        yield opened


async def test_an_item_is_read_with_what_every_step_left_of_it(bench: Bench) -> None:
    items = PostgresItems(bench.pool, bench.catalogue.attach, large=100)
    project, job = await bench.project("ada"), await bench.job(3)
    for item in range(3):
        await bench.fetcher.execute(
            "INSERT INTO documents.items (job, item, reference, source, project, folder, name)"
            " VALUES ($1, $2, 'r', 's', $3, $4, $5)",
            job,
            item,
            project.id,
            project.root,
            "asked" if item else None,
        )
    for item, size in ((0, 100), (1, 101)):
        await bench.fetcher.execute(
            "INSERT INTO documents.fetched (job, item, body, etag, version)"
            " VALUES ($1, $2, $3, 'W/\"4\"', '4')",
            job,
            item,
            bytes(size),
        )
        await bench.fetcher.execute(
            "INSERT INTO documents.scraped (job, item, metadata, warnings, schema)"
            " VALUES ($1, $2, '{}', '{}', 'x')",
            job,
            item,
        )
    (done,) = await items.attach([await bench.attachment(job, 1, project.root, "a")])
    (small, large, waiting, missing), (foreign,) = await asyncio.gather(
        items.find(job, range(4)), items.find(str(uuid4()), [0])
    )
    assert missing is foreign is None
    assert small is not None
    assert (small.body, small.size, small.metadata, small.attached) == (bytes(100), 100, b"{}", None)
    assert (small.etag, small.version) == ('W/"4"', "4")
    assert (small.name, small.rule, small.cancelled) == (None, ConflictResolution.SKIP, False)
    assert large is not None
    assert (large.body, large.size, large.attached, large.name) == (None, 101, done, "asked")
    assert await items.body(job, 1) == bytes(101)
    assert waiting is not None
    assert (waiting.body, waiting.size, waiting.metadata) == (None, None, None)


async def test_a_row_that_postgres_does_not_take_fails_alone(bench: Bench) -> None:
    items = PostgresItems(bench.pool, bench.catalogue.attach, large=100)
    project, job = await bench.project("ada"), await bench.job(5)
    batch = [await bench.attachment(job, item, project.root, f"f{item}") for item in range(5)]
    batch[2] = replace(batch[2], metadata='{"k": "\\ud800"}')
    first, second = await asyncio.gather(items.attach(batch[:3]), items.attach(batch[3:]))
    done = [*first, *second]
    assert [isinstance(each, Attached) for each in done] == [True, True, False, True, True]
    assert isinstance(done[2], asyncpg.DataError)


async def test_a_database_that_is_away_is_told_as_such(bench: Bench) -> None:
    items = PostgresItems(bench.pool, bench.catalogue.attach, large=100)
    project, job = await bench.project("ada"), await bench.job()
    attachment = await bench.attachment(job, 0, project.root, "a")
    await bench.pool.close()
    for call in (items.find(job, [0]), items.body(job, 0), items.attach([attachment])):
        with pytest.raises(Unavailable):
            await call
