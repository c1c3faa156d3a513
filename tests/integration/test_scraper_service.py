"""The scrape service as a whole: a real database, the demo source over HTTP, the log in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import msgspec
import pytest

from sluice_contracts.commands import ScrapeDocuments
from sluice_contracts.events import DocumentScraped, ItemCancelled
from sluice_contracts.topics import DOCUMENT_ATTACH, DOCUMENT_SCRAPE
from sluice_fhir.source_store import SourceStore
from sluice_fhir.sources import SourceDraft
from sluice_scraper.__main__ import serve
from sluice_scraper.settings import Settings
from sluice_stack.source.server import SAMPLE, SourceServer
from sluice_storage.pool import open_pool
from sluice_streaming.lots import lot
from sluice_streaming.memory import MemoryBroker
from support.stack import Database
from support.streams import serving, told, until

SECRET = "cd" * 32
SCHEMAS = Path(__file__).resolve().parents[2] / "schemas" / "scrape"


@pytest.fixture
async def source() -> AsyncIterator[SourceServer]:
    server = SourceServer(SAMPLE)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def rows(database: Database) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(database.dsn, wait=10)
    yield opened
    await opened.close()


def running(database: Database, broker: MemoryBroker) -> AbstractAsyncContextManager[None]:
    settings = Settings(
        postgres=database.dsn_for("scraper"), secret=SECRET, loopback_sources=True, scrape_schemas=SCHEMAS
    )
    return serving("scraper", lambda context: serve(context, settings, broker))


async def fetched(database: Database, rows: asyncpg.Pool, source: SourceServer, base: str, count: int) -> str:
    """Register a base of the source and lay its documents ready, as the fetcher leaves them."""
    pool = await open_pool(database.dsn_for("gateway"), wait=10)
    try:
        store = SourceStore(pool, bytes.fromhex(SECRET), loopback=True)
        registered = await store.create(SourceDraft(name=base, base_url=source.base(base)))
    finally:
        await pool.close()
    urls = source.documents(base)[:count]
    async with aiohttp.ClientSession() as session:
        bodies = [await (await session.get(url)).read() for url in urls]
    job = str(uuid4())
    await rows.execute(
        "INSERT INTO documents.jobs (job, client, subject, conflict_resolution, tags, items, submitted_at)"
        " VALUES ($1, 'c', 's', 'SKIP', '{}', $2, now())",
        job,
        len(urls),
    )
    await rows.execute(
        "INSERT INTO documents.items (job, item, reference, source, project, folder, metadata)"
        " SELECT $1, item, url, $2, 'p', 'f', $3 FROM unnest($4::int[], $5::text[]) AS it (item, url)",
        job,
        registered.id,
        b'{"cohort":4}',
        list(range(len(urls))),
        urls,
    )
    await rows.execute(
        "INSERT INTO documents.fetched (job, item, body)"
        " SELECT $1, item, body FROM unnest($2::int[], $3::bytea[]) AS it (item, body)",
        job,
        list(range(len(urls))),
        bodies,
    )
    return job


async def scraped(
    database: Database, broker: MemoryBroker, job: str, count: int, times: int = 1
) -> list[Any]:
    before = len(told(broker))
    async with running(database, broker):
        for _ in range(times):
            await broker.publish(
                *(
                    lot(DOCUMENT_SCRAPE, ScrapeDocuments(job=job, items=tuple(items)), key=job)
                    for items in (range(first, min(first + 7, count)) for first in range(0, count, 7))
                )
            )
        await until(lambda: len(told(broker)) >= before + count * times)
    return told(broker)[before:]


@pytest.mark.parametrize(
    ("base", "schema", "keys"),
    [
        ("synthea", "synthea@", {"document_type", "patient_id", "gender", "age_at_document", "organization"}),
        ("ncpi", "ncpi-research@", {"study_id", "case_id", "sample_id", "diagnosis", "gender"}),
        ("r4", "generic-r4@", {"document_type", "patient_id", "gender"}),
    ],
)
async def test_documents_of_each_kind_of_server_get_the_metadata_of_its_schema(
    database: Database, rows: asyncpg.Pool, source: SourceServer, base: str, schema: str, keys: set[str]
) -> None:
    job = await fetched(database, rows, source, base, 20)
    broker = MemoryBroker()
    events = await scraped(database, broker, job, 20)
    kept = await rows.fetch("SELECT * FROM documents.scraped WHERE job = $1 ORDER BY item", job)
    assert len(kept) == 20
    for row, event in zip(kept, sorted(events, key=lambda event: event.item), strict=True):
        metadata = msgspec.json.decode(row["metadata"])
        assert keys | {"cohort"} <= metadata.keys(), row["warnings"]
        assert row["schema"].startswith(schema)
        assert (event.keys, event.warnings) == (len(metadata), len(row["warnings"])) == (len(metadata), 0)
    assert {item for body in broker.bodies(DOCUMENT_ATTACH) for item in body.items} == set(range(20))
    patients = [path for path in source.counts if "/Patient/" in path]
    assert patients
    assert all(source.counts[path] == 1 for path in patients), "each patient is read once for the whole job"


async def test_everything_delivered_twice_leaves_the_same(
    database: Database, rows: asyncpg.Pool, source: SourceServer
) -> None:
    job = await fetched(database, rows, source, "ncpi", 10)
    broker = MemoryBroker()
    events = await scraped(database, broker, job, 10, times=2)
    assert all(isinstance(event, DocumentScraped) for event in events)
    assert len(events) == 20
    assert len({(event.item, event.keys, event.warnings) for event in events}) == 10
    before = await rows.fetch("SELECT item, metadata, scraped_at FROM documents.scraped ORDER BY item")
    await scraped(database, broker, job, 10)
    after = await rows.fetch("SELECT item, metadata, scraped_at FROM documents.scraped ORDER BY item")
    assert before == after


async def test_a_cancelled_jobs_items_are_left_alone(
    database: Database, rows: asyncpg.Pool, source: SourceServer
) -> None:
    job = await fetched(database, rows, source, "r4", 5)
    await rows.execute("UPDATE documents.jobs SET cancelled_at = now()")
    broker = MemoryBroker()
    events = await scraped(database, broker, job, 5)
    assert {type(event) for event in events} == {ItemCancelled}
    assert not broker.bodies(DOCUMENT_ATTACH)
    assert await rows.fetchval("SELECT count(*) FROM documents.scraped") == 0
