"""Bulk imports on a test's own database: a source that exports, the puller and the status service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
import msgspec
from aiohttp import web

from sluice_contracts.commands import StartBulkImport
from sluice_contracts.events import FileLoaded, ItemFailed, JobFinished
from sluice_contracts.imports import ExportType, ImportRequest
from sluice_contracts.topics import JOBS_BULK_IMPORT, JOBS_EVENTS
from sluice_fhir.source_store import SourceStore
from sluice_fhir.sources import SourceDraft
from sluice_puller import __main__ as puller
from sluice_puller.settings import Settings as PullerSettings
from sluice_status import __main__ as status
from sluice_status.settings import Settings as StatusSettings
from sluice_storage.pool import open_pool
from sluice_streaming.backend import Backend
from sluice_streaming.memory import MemoryBroker
from sluice_streaming.messages import Message
from support.gateway_memory import SECRET
from support.hostile import HttpSource, http_source
from support.resource_store import Json, lines_of
from support.stack import Database
from support.streams import serving, until

Event = TypeVar("Event")
STATUS = "/fhir/status/1"
TIME = "2026-02-03T04:05:06Z"


@dataclass
class ExportSource:
    """A server that exports: what it answers is set by its fields, or by `http.on` for a path."""

    http: HttpSource
    busy: int = 1
    manifest: Json = field(default_factory=dict)
    deleted: int = 0

    def __post_init__(self) -> None:
        self.manifest = {"transactionTime": TIME, "request": "x", "requiresAccessToken": False}
        self.manifest |= {"output": [], "error": []}
        self.http.on("/fhir/$export", self._kick_off)
        self.http.on(STATUS, self._status)

    @property
    def url(self) -> str:
        """Where an export is kicked off."""
        return f"{self.http.base}/$export"

    def give(
        self, name: str, body: bytes, *, kind: str = "output", type_: str | None = "Patient", **more: Any
    ) -> None:
        """List a file; `headers` are its answer's."""
        path = f"/fhir/files/{name}"
        headers = {"Content_Type": "application/fhir+ndjson", **more.pop("headers", {})}
        self.http.on(path, body, **headers)
        self.list_file(f"{self.http.origin}{path}", kind=kind, type_=type_, **more)

    def list_file(
        self, url: str, *, kind: str = "output", type_: str | None = "Patient", **more: Any
    ) -> None:
        """List an address."""
        item = {"url": url, **({} if type_ is None else {"type": type_}), **more}
        self.manifest.setdefault(kind, []).append(item)

    def patients(self, name: str, *ids: str, **more: Any) -> None:
        """List a file of patients."""
        self.give(name, lines_of(*({"resourceType": "Patient", "id": id_} for id_ in ids)), **more)

    def asked_for(self, path: str, method: str = "GET") -> list[web.Request]:
        """Give the requests for a path."""
        return [each for each in self.http.asked if each.path == path and each.method == method]

    async def _kick_off(self, request: web.Request) -> web.Response:
        return web.Response(status=202, headers={"Content-Location": f"{self.http.origin}{STATUS}"})

    async def _status(self, request: web.Request) -> web.Response:
        if request.method == "DELETE":
            self.deleted += 1
            return web.Response(status=202)
        if self.busy:
            self.busy -= 1
            return web.Response(status=202, headers={"Retry-After": "0", "X-Progress": "at 45%"})
        return web.json_response(self.manifest)


@dataclass
class PullSite:
    """Everything that a bulk import touches."""

    database: Database
    broker: MemoryBroker
    source: ExportSource
    source_id: str
    rows: asyncpg.Pool
    sources: SourceStore

    def start(self, url: str | None = None, export_type: ExportType = ExportType.DYNAMIC) -> StartBulkImport:
        """Give the start of a job."""
        request = ImportRequest(source=self.source_id, url=url or self.source.url, export_type=export_type)
        return StartBulkImport(job=str(uuid4()), client="c", subject="s", submitted_at=1.7e9, request=request)

    async def publish(self, *commands: Any) -> None:
        for command in commands:
            await self.broker.publish(Message(JOBS_BULK_IMPORT, command.job, command))

    def told(self, kind: type[Event]) -> list[Event]:
        """Give the events of a kind, in their order."""
        return [each for each in self.broker.bodies(JOBS_EVENTS) if isinstance(each, kind)]

    def failures(self) -> dict[int, tuple[str, int | None]]:
        """Give code and source status of each item that failed."""
        return {each.item: (each.code, each.source_status) for each in self.told(ItemFailed)}

    def loaded(self) -> dict[int, FileLoaded]:
        return {each.item: each for each in self.told(FileLoaded)}

    @asynccontextmanager
    async def running(self, backend: Backend | None = None, **settings: Any) -> AsyncIterator[None]:
        """Run a puller and a status service."""
        async with pulling_services(self.database, self.broker, backend, **settings):
            yield

    async def pull(self, command: StartBulkImport | None = None, **settings: Any) -> JobFinished:
        """Run a job to its end."""
        command = command or self.start()
        await self.publish(command)

        def ends() -> list[JobFinished]:
            return [each for each in self.told(JobFinished) if each.job == command.job]

        async with self.running(**settings):
            await until(lambda: bool(ends()))
        (finished,) = ends()
        return finished

    async def stored(self) -> dict[str, Json]:
        """Give everything that is in the store now, by `Type/id`."""
        rows = await self.rows.fetch(
            "SELECT type, id, body FROM fhir.resources WHERE superseded_by IS NULL AND NOT deleted"
        )
        return {f"{row['type']}/{row['id']}": msgspec.json.decode(row["body"]) for row in rows}

    async def job(self) -> asyncpg.Record:
        """Give the one job's row."""
        row = await self.rows.fetchrow("SELECT * FROM pulls.jobs")
        assert row is not None
        return row

    async def until_row(self, true: Callable[[asyncpg.Record], bool]) -> None:
        """Wait until the one job's row is as wanted."""
        async with asyncio.timeout(120):
            while True:
                row = await self.rows.fetchrow("SELECT * FROM pulls.jobs")
                if row is not None and true(row):
                    return
                await asyncio.sleep(0.01)


@asynccontextmanager
async def pulling_services(
    database: Database, broker: MemoryBroker, backend: Backend | None = None, **settings: Any
) -> AsyncIterator[None]:
    """Run a puller and a status service; the puller over `backend`, if it is another one."""
    chosen = PullerSettings(
        postgres=database.dsn_for("puller"),
        secret=SECRET,
        loopback_sources=True,
        **{
            "pull_least": 0.02,
            "pull_most": 0.3,
            "pull_every": 0.02,
            "pull_strikes": 3,
            "attempts": 2,
            "source_answer": 5.0,
            **settings,
        },
    )
    told = StatusSettings(postgres=database.dsn_for("status"))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            serving("puller", lambda context: puller.serve(context, chosen, backend or broker))
        )
        await stack.enter_async_context(
            serving("status", lambda context: status.serve(context, told, broker))
        )
        yield


@asynccontextmanager
async def pull_site(database: Database, **draft: Any) -> AsyncIterator[PullSite]:
    """Register a source that exports; `draft` are further fields of its registration."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(http_source())
        gateway = await open_pool(database.dsn_for("gateway"), wait=10)
        stack.push_async_callback(gateway.close)
        rows = await open_pool(database.dsn, wait=10)
        stack.push_async_callback(rows.close)
        sources = SourceStore(gateway, bytes.fromhex(SECRET), loopback=True)
        created = await sources.create(SourceDraft(name="test", base_url=http.base, **draft))
        yield PullSite(database, MemoryBroker(), ExportSource(http), created.id, rows, sources)
