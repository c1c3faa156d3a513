"""What a checkup asks of Kafka, Postgres, the object store, other services and sources."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage

import aiohttp
import asyncpg

from sluice_contracts.topics import TOPICS
from sluice_fhir.client import FhirClient
from sluice_fhir.condition_store import ConditionStore
from sluice_fhir.source_auth import UnreadableAuth
from sluice_fhir.source_store import SourceStore
from sluice_fhir.sources import Source
from sluice_gateway import checkup
from sluice_gateway.checkup import Finding, Probe, State
from sluice_gateway.dead_letters import Look
from sluice_gateway.health import Health
from sluice_security.failure import SourceFailure
from sluice_storage.encryption.keys import MasterKeys
from sluice_storage.encryption.rewrap import TABLES, counted
from sluice_storage.migrate import packaged
from sluice_storage.objects import ObjectStore, ObjectStoreError
from sluice_streaming.topics_admin import misfits
from sluice_streaming.topics_lag import survey

_AT_ONCE = 8
_MOST_SOURCES = 50
_SERVICE_SECONDS = 3.0
_SOURCE_SECONDS = 10.0
_MOST_TEXT = 200
# Who reads without a group: watchers that begin where they are, and programs of others.
_GROUPLESS = frozenset({"gateway", "downstream systems"})


@dataclass(frozen=True, slots=True)
class Probes:
    """What is looked at with.

    Parameters
    ----------
    services
        Where other services answer health checks (`http://host:port`), by name.
    """

    health: Health
    pool: asyncpg.Pool
    kafka: str
    objects: ObjectStore
    keys: MasterKeys
    letters: Look
    sources: SourceStore
    conditions: ConditionStore
    fhir: FhirClient
    http: aiohttp.ClientSession
    services: Mapping[str, str]

    def all(self) -> dict[str, Probe]:
        """Give every probe by its name."""
        return {
            "gateway": self._own,
            "clocks": self._clocks,
            "objects": self._objects,
            "disks": self._disks,
            "migrations": self._migrations,
            "master keys": self._keys,
            "topics": self._topics,
            "lag": self._lag,
            "dead letters": self._letters,
            "services": self._readiness,
            "sources": self._sources,
        }

    async def _own(self) -> Sequence[Finding]:
        return checkup.judged_answers(await self.health())

    async def _clocks(self) -> Sequence[Finding]:
        asked = time.time()
        theirs = float(await self.pool.fetchval("SELECT extract(epoch FROM clock_timestamp())"))
        return checkup.judged_clock(theirs - (asked + time.time()) / 2)

    async def _disks(self) -> Sequence[Finding]:
        # Where the gateway has a machine with the stores, also as containers, these are on its disk.
        places = {"gateway's disk": Path("/")}
        # A folder that is not there is told as the object store's fault.
        if self.objects.folder is not None and self.objects.folder.is_dir():
            places["objects' disk"] = self.objects.folder
        found = {name: await asyncio.to_thread(disk_usage, place) for name, place in places.items()}
        return checkup.judged_disks({name: (disk.total, disk.free) for name, disk in found.items()})

    async def _objects(self) -> Sequence[Finding]:
        try:
            await self.objects.reach()
        except ObjectStoreError:
            return checkup.judged_objects(answers=False)
        return checkup.judged_objects(answers=True)

    async def _migrations(self) -> Sequence[Finding]:
        rows = await self.pool.fetch("SELECT migration_id FROM _yoyo_migration")
        there, ours = {row["migration_id"] for row in rows}, set(packaged())
        return checkup.judged_migrations(sorted(ours - there), sorted(there - ours))

    async def _keys(self) -> Sequence[Finding]:
        lost = {
            table.what: sum(
                count
                for master, count in (await counted(self.pool, table)).items()
                if master not in self.keys.ids
            )
            for table in TABLES
        }
        return checkup.judged_keys(lost)

    async def _topics(self) -> Sequence[Finding]:
        return checkup.judged_topics(await misfits(self.kafka))

    async def _lag(self) -> Sequence[Finding]:
        readers = {topic.name: [it for it in topic.consumers if it not in _GROUPLESS] for topic in TOPICS}
        # Parts and files have groups of their own, so that small work does not wait behind large.
        readers |= {"bulk-export.parts": ["exporter-parts"], "bulk-import.files": ["puller-files"]}
        return checkup.judged_lag(await survey(self.kafka), readers)

    async def _letters(self) -> Sequence[Finding]:
        return checkup.judged_letters({topic.topic: topic.waiting for topic in await self.letters()})

    async def _readiness(self) -> Sequence[Finding]:
        said = await asyncio.gather(*(self._ready(url) for url in self.services.values()))
        return checkup.judged_readiness(dict(zip(self.services, said, strict=True)))

    async def _ready(self, url: str) -> str:
        try:
            async with asyncio.timeout(_SERVICE_SECONDS), self.http.get(f"{url}/readyz") as answer:
                text = (await answer.text())[:_MOST_TEXT].strip()
                return "ready" if answer.status == 200 else f"is not ready: {text}"
        except (aiohttp.ClientError, TimeoutError, OSError):
            return "does not answer"

    async def _sources(self) -> Sequence[Finding]:
        registered = await self.sources.list()
        enabled = [source for source in registered if source.enabled]
        gate = asyncio.Semaphore(_AT_ONCE)
        asked = [self._source(source, gate) for source in enabled[:_MOST_SOURCES]]
        found = list(await asyncio.gather(*asked))
        if len(enabled) > _MOST_SOURCES:
            text = f"only the first {_MOST_SOURCES} of {len(enabled)} were asked"
            advice = "See the others with sluice sources health."
            found.append(Finding("sources", State.WARNING, text, advice))
        if any(isinstance(source.auth, UnreadableAuth) for source in registered):
            found.append(checkup.OTHER_SECRET)
        return found or [Finding("sources", State.OK, "none is registered")]

    async def _source(self, source: Source, gate: asyncio.Semaphore) -> Finding:
        shown = await self.conditions.show(source.id)
        problem = None
        async with gate:
            try:
                async with asyncio.timeout(_SOURCE_SECONDS):
                    url = f"{source.base_url}/metadata"
                    await self.fhir.get_json(source, url, expected="CapabilityStatement")
            except SourceFailure as failure:
                problem = str(failure.code)
            except TimeoutError:
                problem = "source_timeout"
        return checkup.judged_source(source, problem, shown)
