"""The service as a whole: a real database, a folder of objects, sources over HTTP, the log in memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import psutil
import pytest
from aiohttp import web

from sluice_attacher.__main__ import serve
from sluice_attacher.settings import Settings
from sluice_contracts.commands import AttachDocuments
from sluice_contracts.events import (
    DocumentAttached,
    FileOutcome,
    ItemCancelled,
    ItemFailed,
    ItemRetrying,
)
from sluice_contracts.topics import DOCUMENT_ATTACH, JOBS_EVENTS
from sluice_fhir.source_store import SourceStore
from sluice_fhir.sources import SourceDraft
from sluice_stack.source import rules
from sluice_stack.source.faults import FAULTS
from sluice_stack.source.server import SourceServer
from sluice_storage.catalogue.model import Listing, Project
from sluice_storage.objects import ObjectStore
from sluice_storage.pool import open_pool
from sluice_streaming.limits import Limits
from sluice_streaming.lots import lot
from sluice_streaming.memory import MemoryBroker
from sluice_streaming.messages import Outgoing
from support.catalogue import Bench, open_bench
from support.hostile import http_source
from support.object_stores import KEYS, MASTER_KEYS
from support.stack import Database
from support.streams import serving, told, until

SECRET = "cd" * 32
ENDS = (DocumentAttached, ItemFailed, ItemCancelled)


@pytest.fixture
async def origin() -> AsyncIterator[SourceServer]:
    server = SourceServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def bench(database: Database, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(database, ObjectStore.from_url(f"file://{tmp_path}/objects", KEYS)) as opened:
        yield opened


@pytest.fixture
async def project(bench: Bench) -> Project:
    return await bench.project("ada")


async def register(database: Database, base_url: str, **more: Any) -> str:
    pool = await open_pool(database.dsn_for("gateway"), wait=10)
    try:
        store = SourceStore(pool, bytes.fromhex(SECRET), loopback=True)
        return (await store.create(SourceDraft(name="test", base_url=base_url, **more))).id
    finally:
        await pool.close()


async def plan(
    fetcher: asyncpg.Pool,
    source: str,
    folder: Project,
    bodies: Sequence[bytes],
    *,
    rule: str = "SKIP",
    tags: Sequence[str] = ("t1",),
) -> str:
    """Leave a job as the scraper does: fetched and scraped, waiting for its files."""
    job = str(uuid4())
    await fetcher.execute(
        """
        INSERT INTO documents.jobs (job, client, subject, conflict_resolution, tags, items, submitted_at)
        VALUES ($1, 'c', 's', $2, $3, $4, now())
        """,
        job,
        rule,
        list(tags),
        len(bodies),
    )
    for item, body in enumerate(bodies):
        await fetcher.execute(
            "INSERT INTO documents.items (job, item, reference, source, project, folder)"
            " VALUES ($1, $2, 'r', $3, $4, $5)",
            job,
            item,
            source,
            folder.id,
            folder.root,
        )
        await fetcher.execute("INSERT INTO documents.fetched VALUES ($1, $2, $3)", job, item, body)
        metadata = json.dumps({"item": item, "canary": "Zxqvlinger"}).encode()
        await fetcher.execute(
            "INSERT INTO documents.scraped (job, item, metadata, warnings, schema)"
            " VALUES ($1, $2, $3, '{}', 'x')",
            job,
            item,
            metadata,
        )
    return job


async def command(broker: MemoryBroker, job: str, items: Sequence[int]) -> None:
    lots = [tuple(items[first : first + 7]) for first in range(0, len(items), 7)]
    await broker.publish(*(lot(DOCUMENT_ATTACH, AttachDocuments(job=job, items=them)) for them in lots))


def running(
    database: Database, tmp_path: Path, broker: MemoryBroker, **settings: Any
) -> AbstractAsyncContextManager[None]:
    made = Settings(
        postgres=database.dsn_for("attacher"),
        objects=f"file://{tmp_path}/objects",
        master_keys=MASTER_KEYS,
        secret=SECRET,
        loopback_sources=True,
        **settings,
    )
    return serving("attacher", lambda context: serve(context, made, broker, Limits(stop=0.2)))


def ended(broker: MemoryBroker) -> dict[int, Any]:
    return {event.item: event for event in told(broker) if isinstance(event, ENDS)}


async def documents(origin: SourceServer, names: Sequence[str]) -> list[bytes]:
    async with aiohttp.ClientSession() as http:
        found = []
        for name in names:
            async with http.get(f"{origin.base('r4')}/DocumentReference/{name}") as response:
                found.append(await response.read())
        return found


async def content(bench: Bench, file: str) -> bytes:
    opened = await bench.catalogue.entries.open("ada", file)
    return b"".join([chunk async for chunk in opened.chunks])


async def test_a_job_becomes_files_and_everything_delivered_twice_leaves_the_same(
    database: Database, tmp_path: Path, origin: SourceServer, bench: Bench, project: Project
) -> None:
    names = [f"bench-{number:06d}" for number in range(1, 61)]
    source = await register(database, origin.base("r4"))
    job = await plan(bench.fetcher, source, project, await documents(origin, names))
    broker = MemoryBroker()
    async with running(database, tmp_path, broker):
        await command(broker, job, range(60))
        await until(lambda: len(ended(broker)) == 60)
    page = await bench.catalogue.entries.list("ada", Listing(project.root, limit=100))
    assert [entry.name for entry in page.items] == [f"{name}.txt" for name in names]
    for item, event in ended(broker).items():
        assert isinstance(event, DocumentAttached)
        expected = rules.bench_content(item + 1)
        assert await content(bench, event.file) == expected
        entry = await bench.catalogue.entries.get("ada", event.file)
        assert entry.sha256 == hashlib.sha256(expected).digest()
        assert (entry.metadata["item"], entry.tags, entry.content_type) == (item, ("t1",), "text/plain")
    asked = sum(origin.counts.values())
    again = MemoryBroker()
    for record in broker.records(DOCUMENT_ATTACH.name) * 2:
        again.append(Outgoing(DOCUMENT_ATTACH.name, record.key, record.value, record.headers))
    async with running(database, tmp_path, again):
        await until(lambda: len(told(again)) == 120)
    assert {item: (e.file, e.outcome, e.size) for item, e in ended(again).items()} == {
        item: (e.file, e.outcome, e.size) for item, e in ended(broker).items()
    }
    assert await bench.catalogue.entries.list("ada", Listing(project.root, limit=100)) == page
    assert sum(origin.counts.values()) == asked
    assert all(b"Zxqvlinger" not in (record.value or b"") for record in broker.records(JOBS_EVENTS.name))


OF_ATTACHMENTS = FAULTS[[fault.kind for fault in FAULTS].index("no-content") :]


async def test_every_fault_of_an_attachment_ends_its_item_as_the_table_says(
    database: Database, tmp_path: Path, origin: SourceServer, bench: Bench, project: Project
) -> None:
    quick = [fault for fault in OF_ATTACHMENTS if not fault.slow]
    bodies = await documents(origin, [fault.document("attacher") for fault in quick])
    source = await register(database, origin.base("r4"))
    job = await plan(bench.fetcher, source, project, bodies)
    broker = MemoryBroker()
    async with running(database, tmp_path, broker):
        await command(broker, job, range(len(quick)))
        await until(lambda: len(ended(broker)) == len(quick))
    got = {
        quick[item].kind: (event.code, event.source_status if quick[item].status else None)
        if isinstance(event, ItemFailed)
        else None
        for item, event in ended(broker).items()
    }
    assert got == {fault.kind: fault.error and (fault.error.value, fault.status) for fault in quick}
    page = await bench.catalogue.entries.list("ada", Listing(project.root, limit=100))
    assert page.total == len([fault for fault in quick if fault.error is None])
    for entry in page.items:
        assert await content(bench, entry.id) == rules.bench_content(0)
    assert len(await bench.stored()) == 1


@pytest.mark.parametrize(
    ("kind", "code", "idle"),
    [("truncated", "attachment_truncated", 60.0), ("file-hang", "source_timeout", 0.3)],
)
async def test_what_never_ends_or_always_breaks_is_retried_with_its_reason(
    database: Database,
    tmp_path: Path,
    origin: SourceServer,
    bench: Bench,
    project: Project,
    kind: str,
    code: str,
    idle: float,
) -> None:
    bodies = await documents(origin, [f"fault-{kind}.retry"])
    source = await register(database, origin.base("r4"))
    job = await plan(bench.fetcher, source, project, bodies)
    broker = MemoryBroker()

    def waiting() -> list[str]:
        return [event.code for event in told(broker) if isinstance(event, ItemRetrying)]

    async with running(database, tmp_path, broker, source_idle=idle):
        await command(broker, job, [0])
        await until(lambda: bool(waiting()))
    assert set(waiting()) == {code}
    assert (await bench.catalogue.entries.list("ada", Listing(project.root))).total == 0


async def test_items_with_one_name_under_each_rule_and_a_cancelled_job(
    database: Database, tmp_path: Path, bench: Bench, project: Project
) -> None:
    source = await register(database, "http://127.0.0.1:9/fhir")

    def inline(data: str) -> bytes:
        attachment = {"contentType": "text/plain", "title": "same.txt", "data": data}
        return json.dumps({"content": [{"attachment": attachment}, {"attachment": {"url": "x"}}]}).encode()

    broker, jobs = MemoryBroker(), []
    async with running(database, tmp_path, broker):
        for rule in ("SKIP", "AUTORENAME", "OVERWRITE", "SKIP"):
            job = await plan(bench.fetcher, source, project, [inline("QUJD"), inline("QUJE")], rule=rule)
            jobs.append(job)
            for item in (0, 1):
                before = len(broker.records(JOBS_EVENTS.name))
                await command(broker, job, [item])
                await until(lambda count=before: len(broker.records(JOBS_EVENTS.name)) > count)  # type: ignore[misc]
        cancelled = await plan(bench.fetcher, source, project, [inline("QUJF")])
        await bench.fetcher.execute(
            "UPDATE documents.jobs SET cancelled_at = now() WHERE job = $1", cancelled
        )
        await command(broker, cancelled, [0])
        await until(lambda: len(broker.records(JOBS_EVENTS.name)) == 9)
    said = {
        (jobs.index(event.job), event.item): event.outcome
        for event in told(broker)
        if isinstance(event, DocumentAttached)
    }
    assert said == {
        (0, 0): FileOutcome.CREATED,
        (0, 1): FileOutcome.RENAMED,
        (1, 0): FileOutcome.RENAMED,
        (1, 1): FileOutcome.RENAMED,
        (2, 0): FileOutcome.REPLACED,
        (2, 1): FileOutcome.RENAMED,
        (3, 0): FileOutcome.SKIPPED,
        (3, 1): FileOutcome.SKIPPED,
    }
    (last,) = [event for event in told(broker) if isinstance(event, ItemCancelled)]
    assert last.job == cancelled
    page = await bench.catalogue.entries.list("ada", Listing(project.root))
    assert [entry.name for entry in page.items] == [
        *(f"_{number}_same.txt" for number in range(1, 5)),
        "same.txt",
    ]


async def test_a_large_attachment_passes_in_bounded_memory(
    database: Database, tmp_path: Path, origin: SourceServer, bench: Bench, project: Project
) -> None:
    (body,) = await documents(origin, ["big-300mb"])
    source = await register(database, origin.base("r4"))
    job = await plan(bench.fetcher, source, project, [body])
    broker, process, most = MemoryBroker(), psutil.Process(), 0
    before = process.memory_info().rss

    def done() -> bool:
        nonlocal most
        most = max(most, process.memory_info().rss)
        return bool(ended(broker))

    async with running(database, tmp_path, broker):
        await command(broker, job, [0])
        await until(done, 120)
    event = ended(broker)[0]
    assert isinstance(event, DocumentAttached)
    assert event.size == 300 * 2**20
    # This process is also the source; what a quarter of the content would take is far from what both need.
    assert most - before < 75 * 2**20
    entry = await bench.catalogue.entries.get("ada", event.file)
    digest = hashlib.sha256()
    for _ in range(300):
        digest.update(rules.big_block())
    assert entry.sha256 == digest.digest()


async def test_a_service_that_stops_in_the_middle_of_a_transfer_leaves_it_to_another(
    database: Database, tmp_path: Path, bench: Bench, project: Project
) -> None:
    data = bytes(range(256)) * 40_000
    reached, asked = asyncio.Event(), 0

    async def slow_at_first(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        if asked > 1:
            return web.Response(body=data, headers={"Content-Type": "image/png"})
        response = web.StreamResponse(headers={"Content-Type": "image/png"})
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        reached.set()
        await asyncio.sleep(3600)
        return response

    attachment = {"contentType": "image/png", "url": "Binary/1", "size": len(data)}
    document = json.dumps({"id": "d", "content": [{"attachment": attachment}]}).encode()
    async with http_source() as server:
        server.on("/fhir/Binary/1", slow_at_first)
        source = await register(database, server.base)
        job = await plan(bench.fetcher, source, project, [document])
        broker = MemoryBroker()
        async with running(database, tmp_path, broker):
            await command(broker, job, [0])
            await reached.wait()
        assert broker.records(JOBS_EVENTS.name) == []
        assert await bench.stored() == set()
        async with running(database, tmp_path, broker):
            await until(lambda: len(ended(broker)) == 1)
    event = ended(broker)[0]
    assert isinstance(event, DocumentAttached)
    assert await content(bench, event.file) == data
