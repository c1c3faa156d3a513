"""The gateway over stores in memory: everything that speaks HTTP, and nothing that needs a server.

async with memory_gateway() as site:
    answer = await site.post("/v2/bulk/fhir", json=one_item(), headers=site.bearer())
    site.accepted()    # the commands on the log
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from sluice_contracts import wire
from sluice_contracts.commands import DocumentImportCommand
from sluice_contracts.events import JobKind
from sluice_contracts.ids import Keys
from sluice_contracts.topics import JOBS_DOCUMENT_IMPORT, JOBS_EVENTS
from sluice_fhir.condition_store import Shown
from sluice_fhir.scrape_match import SchemaSet
from sluice_fhir.sources import Source, best_match
from sluice_gateway.alerts import Alerts, Held
from sluice_gateway.all_jobs import AnyItemRow, AnyJobRow, Owner
from sluice_gateway.app import make_app
from sluice_gateway.checkup import Checkup
from sluice_gateway.dead_letters import DeadLetters, Look, Redrive
from sluice_gateway.etas import Etas, unblocked
from sluice_gateway.fhir.measures import MeasurePorts
from sluice_gateway.health import Health
from sluice_gateway.holding_up import HoldingUp, blocks, held_up
from sluice_gateway.idempotency import Kept
from sluice_gateway.imports import ItemRow, JobRow, Rerun
from sluice_gateway.job_ids import id_keys
from sluice_gateway.models.base import ErrorBody
from sluice_gateway.models.jobs import AnyJobQuery
from sluice_gateway.openapi import api
from sluice_gateway.paging import Window
from sluice_gateway.publishing import Commands
from sluice_gateway.quotas import Policy, Usage
from sluice_gateway.settings import Settings
from sluice_gateway.wiring import Gateway, Ports, assemble
from sluice_openapi.document import written
from sluice_security.guard_urls import Prefix
from sluice_storage.audit import Record
from sluice_storage.catalogue import Catalogue
from sluice_storage.catalogue.model import Destination, Entry, Listing, NotFoundError, Page
from sluice_storage.catalogue.projects import Destinations
from sluice_streaming.memory import MemoryBroker
from sluice_streaming.tail import MemoryTail
from support.dead_letters_memory import no_dead_letters
from support.exports_memory import MemoryBulk
from support.object_stores import MASTER_KEYS
from support.pulls_memory import MemoryBrought, MemoryPulls
from support.submissions_memory import MemorySubmissions
from support.tokens import AUDIENCE, LocalAuthority

SECRET = "5e" * 32
ADVANCE = {"X-SBG-Advance-Access": "Advance"}
BASE = "https://fhir.example.org/r4"
FOLDER = "a" * 24
ROOT = "b" * 24
PROJECT = "ann/study"
DOCUMENT = written(api()).encode()
SCHEMAS = SchemaSet.load()


@dataclass
class Time:
    """A wall clock that stands still until it is moved; Unix seconds."""

    at: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.at


class MemoryQuotas:
    """Counts calls exactly; a call leaves the window when it is as old as the window."""

    def __init__(self) -> None:
        self.calls: dict[str, list[float]] = {}

    def _live(self, policy: Policy, client: str, at: float) -> list[float]:
        return [call for call in self.calls.get(client, []) if call > at - policy.window]

    async def take(self, policy: Policy, client: str, at: float) -> tuple[bool, Usage]:
        live = self._live(policy, client, at)
        allowed = len(live) < policy.most
        if allowed:
            live.append(at)
        self.calls[client] = live
        return allowed, Usage(len(live), min(live) + policy.window, at)

    async def read(self, policy: Policy, client: str, at: float) -> Usage:
        live = self._live(policy, client, at)
        return Usage(len(live), min(live, default=at - policy.window) + policy.window, at)


class MemoryKeys:
    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str], Kept] = {}

    async def keep(self, client: str, subject: str, key: str, request: bytes, job: str, at: datetime) -> Kept:
        return self.rows.setdefault((client, subject, key), Kept(request, job, at, False))

    async def find(self, client: str, subject: str, key: str) -> Kept | None:
        return self.rows.get((client, subject, key))

    async def published(self, client: str, subject: str, key: str) -> None:
        name = (client, subject, key)
        self.rows[name] = replace(self.rows[name], published=True)

    async def forget(self, before: datetime) -> int:
        old = [name for name, kept in self.rows.items() if kept.accepted_at < before]
        for name in old:
            del self.rows[name]
        return len(old)


@dataclass
class MemoryJobs:
    rows: dict[str, tuple[str, str, JobRow]] = field(default_factory=dict)
    items_of: dict[str, list[ItemRow]] = field(default_factory=dict)
    reruns: dict[str, Rerun] = field(default_factory=dict)

    def add(self, client: str, subject: str, row: JobRow, items: Sequence[ItemRow] = ()) -> None:
        self.rows[row.job] = (client, subject, row)
        self.items_of[row.job] = list(items)

    async def get(self, client: str, subject: str, job: str) -> JobRow | None:
        found = self.rows.get(job)
        return found[2] if found and found[:2] == (client, subject) else None

    async def page(self, client: str, subject: str, limit: int, offset: int) -> tuple[list[JobRow], int]:
        own = [row for owner, who, row in self.rows.values() if (owner, who) == (client, subject)]
        own.sort(key=lambda row: (-row.submitted_at.timestamp(), row.job))
        return own[offset : offset + limit], len(own)

    async def items(self, job: str, limit: int, offset: int) -> list[ItemRow]:
        return self.items_of.get(job, [])[offset : offset + limit]

    async def failed(self, job: str) -> Rerun | None:
        return self.reruns.get(job)


@dataclass
class MemoryAllJobs:
    rows: dict[str, AnyJobRow] = field(default_factory=dict)
    items_of: dict[str, list[AnyItemRow]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    sources_of: dict[str, list[str]] = field(default_factory=dict)

    async def withdrawn(self, job: str) -> bool:
        return job in self.gone

    async def some(self, owner: Owner | None, jobs: Collection[str]) -> list[AnyJobRow]:
        return [self.rows[job] for job in jobs if job in self.rows and owner in (None, self.rows[job].owner)]

    async def page(
        self, owner: Owner | None, query: AnyJobQuery, window: Window
    ) -> tuple[list[AnyJobRow], int]:
        found = [row for row in await self.some(owner, list(self.rows)) if query.kind in (None, row.kind)]
        found.sort(key=lambda row: row.submitted_at, reverse=True)
        return found[window.offset : window.offset + window.limit], len(found)

    async def waiting(
        self, jobs: Collection[str], sources: Collection[str] | None = None
    ) -> list[tuple[str, str]]:
        found = [(job, source) for job in jobs for source in self.sources_of.get(job, [])]
        return [each for each in found if sources is None or each[1] in sources]

    async def items(self, job: str, rank: int | None, window: Window) -> tuple[list[AnyItemRow], int]:
        found = [row for row in self.items_of.get(job, []) if rank in (None, row.rank)]
        return found[window.offset : window.offset + window.limit], len(found)


@dataclass
class MemoryConditions:
    sources: dict[str, Shown] = field(default_factory=dict)

    async def show(self, source: str) -> Shown | None:
        return self.sources.get(source)

    async def troubled(self) -> list[str]:
        return [source for source, shown in self.sources.items() if blocks(held_up(shown))]


class MemoryRegistry:
    def __init__(self, *sources: Source) -> None:
        self.places = [(Prefix.parse(source.base_url, loopback=True), source) for source in sources]

    async def match(self, url: str) -> Source | None:
        return best_match(self.places, url)


@dataclass
class _MemoryProjects:
    """Knows one project of one subject, and which folders they may write into."""

    writable: dict[str, dict[str, Destination]] = field(default_factory=dict)
    readable: dict[str, set[str]] = field(default_factory=dict)

    async def destinations(
        self, subject: str, *, projects: Sequence[str] = (), folders: Sequence[str] = ()
    ) -> Destinations:
        own = self.writable.get(subject, {})
        refused = self.readable.get(subject, set()) & {*projects, *folders}
        return Destinations(
            {name: own[name] for name in projects if name in own},
            {name: own[name] for name in folders if name in own},
            frozenset(refused),
        )


@dataclass
class _MemoryEntries:
    entries: dict[str, Entry] = field(default_factory=dict)

    async def get_many(self, _subject: str, ids: Sequence[str]) -> dict[str, Entry]:
        return {name: self.entries[name] for name in ids if name in self.entries}

    async def get(self, _subject: str, entry: str) -> Entry:
        try:
            return self.entries[entry]
        except KeyError:
            raise NotFoundError from None

    async def list(self, _subject: str, listing: Listing) -> Page[Entry]:
        found = [
            entry
            for entry in self.entries.values()
            if entry.parent == listing.parent and (not listing.names or entry.name in listing.names)
        ]
        return Page(tuple(found), len(found))


@dataclass
class MemoryCatalogue:
    projects: _MemoryProjects = field(default_factory=_MemoryProjects)
    entries: _MemoryEntries = field(default_factory=_MemoryEntries)
    members: None = None
    remove: None = None


@dataclass
class MemoryAudit:
    records: list[Record] = field(default_factory=list)

    async def add(self, records: Sequence[Record]) -> None:
        self.records.extend(records)


@dataclass
class Site:
    """A gateway that answers over HTTP, and what is behind it."""

    client: TestClient[Any, Any]
    gateway: Gateway
    authority: LocalAuthority
    now: Time
    broker: MemoryBroker
    quotas: MemoryQuotas
    keys: MemoryKeys
    jobs: MemoryJobs
    all_jobs: MemoryAllJobs
    pulls: MemoryPulls
    submissions: MemorySubmissions
    catalogue: MemoryCatalogue
    bulk: MemoryBulk
    ends: dict[str, float]
    audit: list[Record]
    alerts: list[Held]
    conditions: dict[str, Shown]

    def bearer(self, **kwargs: Any) -> dict[str, str]:
        """Headers with a token, by default of `ann` through the client `portal`, and advance access."""
        return {**self.authority.bearer(**{"client": "portal", "subject": "ann", **kwargs}), **ADVANCE}

    async def call(self, method: str, path: str, **kwargs: Any) -> ClientResponse:
        return await self.client.request(method, path, **kwargs)

    async def post(self, path: str, **kwargs: Any) -> ClientResponse:
        return await self.call("POST", path, **kwargs)

    async def get(self, path: str, **kwargs: Any) -> ClientResponse:
        return await self.call("GET", path, **kwargs)

    def accepted(self) -> list[DocumentImportCommand]:
        """Every command on the log, in order."""
        decoder: wire.Decoder[DocumentImportCommand] = wire.Decoder(JOBS_DOCUMENT_IMPORT.messages)
        records = self.broker.records(JOBS_DOCUMENT_IMPORT.name)
        return [decoder.decode(record.value or b"") for record in records]

    def id_keys(self, kind: JobKind = JobKind.DOCUMENT_IMPORT) -> Keys:
        """Give what ids of jobs of this kind are signed with."""
        return id_keys(self.gateway.settings.secrets, kind)


def one_item(**fields: Any) -> dict[str, Any]:
    """Give a sound request of one item; `fields` replace or add to the item's."""
    item = {"fhir_document_reference": f"{BASE}/DocumentReference/1", "project": PROJECT, **fields}
    return {"items": [{name: value for name, value in item.items() if value is not None}]}


def error_shape(body: dict[str, Any]) -> ErrorBody:
    """Check that a body has the one shape of errors, and give it."""
    return ErrorBody.model_validate(body)


@asynccontextmanager
async def memory_gateway(
    *,
    fhir: object = None,
    files: Path | None = None,
    dead_letters: tuple[Look, Redrive] | None = None,
    **settings: Any,
) -> AsyncIterator[Site]:
    """Run a gateway over memory; exports' files are in `files`, if any are."""
    now = Time()
    authority = LocalAuthority(now=now)
    broker, quotas, keys, jobs = MemoryBroker(), MemoryQuotas(), MemoryKeys(), MemoryJobs()
    catalogue, bulk = MemoryCatalogue(), MemoryBulk(files or Path("/nonexistent"))
    pulls, ends, all_jobs = MemoryPulls(), dict[str, float](), MemoryAllJobs()
    conditions = MemoryConditions()
    held: list[Held] = []

    async def known_ends(_jobs: Collection[str]) -> Mapping[str, float]:
        return ends

    async def known_alerts() -> Sequence[Held]:
        return held

    submissions, audit = MemorySubmissions(), MemoryAudit()
    root, folder = Destination(PROJECT, ROOT), Destination(PROJECT, FOLDER)
    catalogue.projects.writable["ann"] = {PROJECT: root, ROOT: root, FOLDER: folder}
    commands = Commands(broker.producer(), patience=60.0)
    await commands.connect()
    numbers = itertools.count(1)
    ports = Ports(
        verifier=authority.verifier(),
        quotas=quotas,
        keys=keys,
        imports=jobs,
        all_jobs=all_jobs,
        tail=MemoryTail(broker, JOBS_EVENTS.name),
        pulls=pulls,
        webhooks=cast("Any", None),
        brought=MemoryBrought(),
        submissions=submissions,
        registry=MemoryRegistry(Source(id="one", name="One", base_url=BASE)),
        sources=cast("Any", None),
        conditions=conditions,
        schemas=SCHEMAS,
        fhir=cast("Any", fhir),
        catalogue=cast("Catalogue", catalogue),
        commands=commands,
        health=Health({}),
        checkup=Checkup({}),
        grants=cast("Any", bulk.grants),
        groups=cast("Any", bulk.groups),
        lookup=cast("Any", bulk.lookup),
        smart=authority.smart_configuration,
        exports=bulk.ports,
        dead_letters=DeadLetters(*dead_letters or no_dead_letters()),
        audit=audit,
        audit_reader=cast("Any", None),
        measures=MeasurePorts(cast("Any", None), cast("Any", None)),
        etas=Etas(unblocked(known_ends, HoldingUp(conditions, all_jobs).blocked), patience=60.0),
        alerts=Alerts(known_alerts, patience=60.0, fresh=0.0),
    )
    chosen = Settings(
        postgres="postgresql://none",
        public_url=AUDIENCE,
        master_keys=MASTER_KEYS,
        **{"secret": SECRET, **settings},
    )
    gateway = assemble(chosen, ports, DOCUMENT, now=now, nonce=lambda: next(numbers))
    async with TestClient(TestServer(make_app(gateway))) as client:
        yield Site(
            client,
            gateway,
            authority,
            now,
            broker,
            quotas,
            keys,
            jobs,
            all_jobs,
            pulls,
            submissions,
            catalogue,
            bulk,
            ends,
            audit.records,
            held,
            conditions.sources,
        )
    await commands.close()


def job_row(job: str, **fields: Any) -> JobRow:
    """Give a running job's row of three items, with `fields` replaced."""
    row = JobRow(job, "RUNNING", None, 3, 0, 0, 0, 0, datetime(2026, 1, 2, tzinfo=UTC), None, None)
    return replace(row, **fields)
