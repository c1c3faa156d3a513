"""The service as a whole: a real database, a real source over HTTP, the log in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiohttp import web

from sluice_contracts.commands import CancelDocumentImport, ImportItem, StartDocumentImport
from sluice_contracts.events import DocumentFetched, ItemCancelled, ItemFailed, ItemRetrying, JobPlanned
from sluice_contracts.topics import DOCUMENT_FETCH, DOCUMENT_SCRAPE, JOBS_DOCUMENT_IMPORT, JOBS_EVENTS
from sluice_fetcher.__main__ import serve
from sluice_fetcher.settings import Settings
from sluice_fhir.source_store import SourceStore
from sluice_fhir.sources import SourceDraft
from sluice_storage.pool import open_pool
from sluice_streaming.memory import MemoryBroker
from sluice_streaming.messages import Message, Outgoing
from support.hostile import HttpSource, document, http_source
from support.stack import Database
from support.streams import serving, told, until

SECRET = "ab" * 32


@pytest.fixture
async def server() -> AsyncIterator[HttpSource]:
    async with http_source() as running:
        yield running


@pytest.fixture
async def source(database: Database, server: HttpSource) -> str:
    pool = await open_pool(database.dsn_for("gateway"), wait=10)
    try:
        store = SourceStore(pool, bytes.fromhex(SECRET), loopback=True)
        return (await store.create(SourceDraft(name="test", base_url=server.base))).id
    finally:
        await pool.close()


@pytest.fixture
async def rows(database: Database) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(database.dsn, wait=10)
    yield opened
    await opened.close()


def running(database: Database, broker: MemoryBroker) -> AbstractAsyncContextManager[None]:
    settings = Settings(
        postgres=database.dsn_for("fetcher"), secret=SECRET, loopback_sources=True, source_answer=1.0
    )
    return serving("fetcher", lambda context: serve(context, settings, broker))


def start(server: HttpSource, source: str, names: list[str]) -> StartDocumentImport:
    return StartDocumentImport(
        job=str(uuid4()),
        client="c",
        subject="s",
        submitted_at=1_700_000_000.0,
        items=tuple(
            ImportItem(
                reference=f"{server.base}/DocumentReference/{name}", source=source, project="o/p", folder="f"
            )
            for name in names
        ),
    )


def events(broker: MemoryBroker) -> list[Any]:
    return told(broker)


def ended(broker: MemoryBroker) -> int:
    kinds = (DocumentFetched, ItemFailed, ItemCancelled)
    return len({event.item for event in events(broker) if isinstance(event, kinds)})


def all_ended(broker: MemoryBroker, count: int) -> bool:
    kinds = (DocumentFetched, ItemFailed, ItemCancelled)
    return len({(event.job, event.item) for event in events(broker) if isinstance(event, kinds)}) == count


async def test_each_item_of_a_job_goes_on_or_ends_with_its_reason(
    database: Database, server: HttpSource, source: str, rows: asyncpg.Pool
) -> None:
    names = [f"d{number}" for number in range(40)]
    for name in names:
        server.on(f"/fhir/DocumentReference/{name}", document(name))
    server.status("/fhir/DocumentReference/gone", 410)
    server.on("/fhir/DocumentReference/html", b"<html>canary</html>", Content_Type="text/html")
    tries = Counter[str]()

    async def second_time(request: web.Request) -> web.Response:
        tries[request.path] += 1
        return web.Response(status=503) if tries[request.path] == 1 else web.Response(body=document("busy"))

    server.on("/fhir/DocumentReference/busy", second_time)
    command = start(server, source, [*names, "gone", "html", "missing", "busy", "d0"])
    broker = MemoryBroker()
    async with running(database, broker):
        await broker.publish(Message(JOBS_DOCUMENT_IMPORT, command.job, command))
        await until(lambda: ended(broker) == 45)
    failed = {
        event.item: (event.code, event.source_status)
        for event in events(broker)
        if isinstance(event, ItemFailed)
    }
    assert failed == {
        40: ("document_gone", 410),
        41: ("not_json", 200),
        42: ("document_not_found", 404),
    }
    assert [event.code for event in events(broker) if isinstance(event, ItemRetrying)] == [
        "source_unavailable"
    ]
    assert len([event for event in events(broker) if isinstance(event, JobPlanned)]) == 1
    scraped = {item for body in broker.bodies(DOCUMENT_SCRAPE) for item in body.items}
    assert scraped == {*range(40), 43, 44}
    kept = await rows.fetch("SELECT item, body, version FROM documents.fetched ORDER BY item")
    assert {row["item"]: row["body"] for row in kept} == {
        number: document((*names, "", "", "", "busy", "d0")[number]) for number in scraped
    }
    assert not any(b"canary" in (record.value or b"") for record in broker.records(JOBS_EVENTS.name))


async def test_everything_delivered_twice_leaves_the_same(
    database: Database, server: HttpSource, source: str, rows: asyncpg.Pool
) -> None:
    names = [f"d{number}" for number in range(10)]
    for name in names:
        server.on(f"/fhir/DocumentReference/{name}", document(name))
    command = start(server, source, names)
    broker = MemoryBroker()
    async with running(database, broker):
        await broker.publish(Message(JOBS_DOCUMENT_IMPORT, command.job, command))
        await until(lambda: ended(broker) == 10)
    before = await rows.fetch("SELECT * FROM documents.fetched ORDER BY item")
    said = {repr(body) for body in broker.bodies(DOCUMENT_SCRAPE)}
    again = MemoryBroker()
    for topic in (JOBS_DOCUMENT_IMPORT, DOCUMENT_FETCH):
        for record in broker.records(topic.name):
            again.append(Outgoing(topic.name, record.key, record.value, record.headers))
    async with running(database, again):
        await until(lambda: ended(again) == 10 and len(again.records(DOCUMENT_SCRAPE.name)) == 2)
    assert await rows.fetch("SELECT * FROM documents.fetched ORDER BY item") == before
    assert {repr(body) for body in again.bodies(DOCUMENT_SCRAPE)} == said
    assert len([request for request in server.asked if "DocumentReference" in request.path]) == 10


async def test_documents_that_are_searched_for_are_kept_as_those_that_are_read(
    database: Database, server: HttpSource, source: str, rows: asyncpg.Pool
) -> None:
    names = [f"d{number}" for number in range(10)]
    for name in names:
        server.on(f"/fhir/DocumentReference/{name}", document(name))
    server.status("/fhir/DocumentReference/gone", 410)
    kind = b'"type":"DocumentReference","interaction":[{"code":"search-type"}],"searchParam":[{"name":"_id"}]'
    server.on(
        "/fhir/metadata",
        b'{"resourceType":"CapabilityStatement","rest":[{"mode":"server","resource":[{%b}]}]}' % kind,
    )
    searches = Counter[str]()

    async def search(request: web.Request) -> web.Response:
        searches[request.query["_id"]] += 1
        assert request.query["_count"] == "11"
        found = [name for name in request.query["_id"].split(",") if name in names and name != "d3"]
        entries = b",".join(b'{"resource":%b}' % document(name) for name in found)
        return web.Response(body=b'{"resourceType":"Bundle","type":"searchset","entry":[%b]}' % entries)

    server.on("/fhir/DocumentReference", search)
    broker = MemoryBroker()
    async with running(database, broker):
        # What the source can do is learned beside the first job.
        for number in range(3):
            command = start(server, source, [*names, "gone"])
            await broker.publish(Message(JOBS_DOCUMENT_IMPORT, command.job, command))
            await until(partial(all_ended, broker, 11 * (number + 1)))
            await until(lambda: any(request.path == "/fhir/metadata" for request in server.asked))
    assert set(searches) == {",".join([*names, "gone"])}
    kept = await rows.fetch("SELECT body, version, count(*) AS jobs FROM documents.fetched GROUP BY 1, 2")
    assert {(row["body"], row["version"], row["jobs"]) for row in kept} == {
        (document(name), "1", 3) for name in names
    }
    failed = [event for event in events(broker) if isinstance(event, ItemFailed)]
    assert [(event.item, event.code, event.source_status) for event in failed] == [
        (10, "document_gone", 410)
    ] * 3


async def test_a_cancelled_job_fetches_nothing_more(
    database: Database, server: HttpSource, source: str
) -> None:
    command = start(server, source, ["d0", "d1"])
    broker = MemoryBroker()
    await broker.publish(
        Message(JOBS_DOCUMENT_IMPORT, command.job, CancelDocumentImport(job=command.job)),
        Message(JOBS_DOCUMENT_IMPORT, command.job, command),
    )
    async with running(database, broker):
        await until(lambda: ended(broker) == 2)
    assert all(isinstance(event, ItemCancelled) for event in events(broker) if hasattr(event, "item"))
    assert server.asked == []


async def test_poison_is_set_aside_and_its_item_ends(
    database: Database, server: HttpSource, source: str
) -> None:
    server.on("/fhir/DocumentReference/d0", document("d0"))
    command = start(server, source, ["d0"])
    broker = MemoryBroker()
    broker.append(Outgoing(DOCUMENT_FETCH.name, f"{command.job}/7".encode(), b"{poison"))
    async with running(database, broker):
        await broker.publish(Message(JOBS_DOCUMENT_IMPORT, command.job, command))
        await until(lambda: ended(broker) == 2)
    assert [(event.item, event.code) for event in events(broker) if isinstance(event, ItemFailed)] == [
        (7, "internal")
    ]
    assert len(broker.records(DOCUMENT_FETCH.dead)) == 1
