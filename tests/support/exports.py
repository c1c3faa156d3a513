"""Exports on a test's own database: plan a job, write its parts, read what was written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec

from sluice_contracts.commands import FailPart, StartBulkExport, WritePart
from sluice_contracts.exports import ExportAccess, ExportLevel, ExportRequest
from sluice_exporter.attachments import Attachments
from sluice_exporter.lines import Matches
from sluice_exporter.pieces import Pieces
from sluice_exporter.planning import Cutting, Planning
from sluice_exporter.postgres import PostgresJobs, PostgresParts
from sluice_exporter.provenance import ProvenanceReader
from sluice_exporter.sink import FileLimits
from sluice_exporter.targets import PostgresTargets, open_ranking
from sluice_exporter.writing import Writing
from sluice_storage.access.grants import Grants
from sluice_storage.encryption.framing import HEAD, SEALED, TAG
from sluice_storage.encryption.opening import SealedObject
from sluice_storage.exports.objects import ExportObjects, data_key_name
from sluice_storage.pool import open_pool
from sluice_storage.resources.copy_threads import Copies
from sluice_storage.resources.groups import Groups
from sluice_storage.resources.planner import Planner
from sluice_storage.resources.reader import Reader
from sluice_streaming.messages import Delivery
from support.object_stores import KEYS
from support.resource_store import Json, Store, open_store
from support.stack import Database

BASE = "https://example.org/fhir"
EVERYTHING = ExportAccess(all_patients=True)


def by_field(type_: str, queries: Sequence[str], now: datetime, *, lenient: bool) -> Matches:
    """Compile searches of the one form `element=value`."""
    wanted = [query.split("=") for query in queries]

    def matches(line: bytes) -> bool:
        resource = msgspec.json.decode(line)
        return any(resource.get(name) == value for name, value in wanted)

    return matches


def start(
    request: ExportRequest | None = None, access: ExportAccess = EVERYTHING, **asked: Any
) -> StartBulkExport:
    """Give the start of a job of its own, at the system level unless told otherwise."""
    if request is None:
        request = ExportRequest(**({"level": ExportLevel.SYSTEM} | asked))
    return StartBulkExport(
        job=str(uuid4()), client="c", subject="s", submitted_at=1.7e9, request=request, access=access
    )


async def grant(pool: asyncpg.Pool | asyncpg.Connection) -> None:
    """Grant the subject of `start` everything."""
    await pool.execute(
        """
        INSERT INTO access.grants (id, grantee_kind, grantee, all_patients, granted_by, granted_at)
        VALUES (gen_random_uuid(), 'user', 's', true, 'op', now())
        """
    )


@dataclass
class Bench:
    """An exporter's parts, wired to real Postgres and a folder."""

    store: Store
    pool: asyncpg.Pool
    objects: ExportObjects
    planning: Planning
    writing: Writing
    folder: Path
    part_bytes: int
    time: list[float] = field(default_factory=lambda: [1.8e9])

    async def plan(self, command: StartBulkExport) -> list[Any]:
        """Plan a job and give what is published."""
        return list(await self.planning.handle(Delivery(command, None)))

    async def write(self, job: str, part: int) -> list[Any]:
        """Write a part and give what is published."""
        return list(await self.writing.handle(Delivery(WritePart(job=job, item=part), None)))

    async def fail(self, job: str, part: int) -> list[Any]:
        """Give a part up and give what is published."""
        return list(await self.writing.handle(Delivery(FailPart(job=job, item=part, code="internal"), None)))

    async def export(self, command: StartBulkExport) -> list[Json]:
        """Plan a job and write all its parts; give the output's lines, which may be of several files."""
        for message in await self.plan(command):
            if isinstance(message.body, WritePart):
                await self.write(command.job, message.body.item)
        return await self.lines(command.job)

    async def files(self, job: str) -> list[asyncpg.Record]:
        """Give the rows of a job's files."""
        return await self.pool.fetch("SELECT * FROM exports.files WHERE job = $1 ORDER BY part, n", job)

    async def lines(self, job: str, kind: str = "output") -> list[Json]:
        """Give all lines of a job's files of a kind, decoded."""
        found: list[Json] = []
        for row in await self.files(job):
            if row["kind"] == kind:
                found += [msgspec.json.decode(line) for line in (await self.text(row)).splitlines()]
        return found

    async def opened(self, row: asyncpg.Record) -> SealedObject:
        """Give what reads a file, by its row, as a download that begins has it."""
        job = str(row["job"])
        kept = await self.pool.fetchval("SELECT data_key FROM exports.jobs WHERE job = $1", job)
        return SealedObject(row["key"], row["size"], KEYS.unwrap(kept, data_key_name(job)))

    async def text(self, row: asyncpg.Record | SealedObject) -> bytes:
        """Give a file's content."""
        file = row if isinstance(row, SealedObject) else await self.opened(row)
        return b"".join([piece async for piece in self.objects.read(file, 0, file.size)])

    def objects_of(self, job: str) -> list[str]:
        """Give the names of everything that is stored for a job."""
        return sorted(
            str(path.relative_to(self.folder))
            for path in (self.folder / "exports" / job).rglob("*")
            if path.is_file()
        )


@asynccontextmanager
async def open_bench(
    database: Database,
    folder: Path,
    *,
    part_bytes: int = 1 << 26,
    limits: FileLimits | None = None,
    ticks: Callable[[], float] | None = None,
) -> AsyncIterator[Bench]:
    """Open an exporter over a migrated database; `ticks` counts seconds by itself unless given.

    The subject of `start` is granted everything.
    """
    numbers = count()
    pool = await open_pool(database.dsn_for("exporter"), size=8)
    copies = Copies(database.dsn_for("exporter"))
    try:
        async with open_store(database) as store:
            await grant(store.readers)
            planner, reader = Planner(pool), Reader(pool, copies)
            objects = ExportObjects.from_url(folder.as_uri())
            provenance = ProvenanceReader(reader, PostgresTargets(pool), partial(open_ranking, pool))
            writing = Writing(
                PostgresParts(pool, KEYS),
                Grants(pool),
                Pieces(reader, provenance, by_field, Attachments(BASE)),
                objects,
                limits or FileLimits(1_000_000, 1 << 30),
                clock=lambda: bench.time[0],
                ticks=ticks or (lambda: float(next(numbers))),
                attempts=lambda: uuid4().hex,
            )
            planning = Planning(
                PostgresJobs(pool),
                planner,
                Groups(pool),
                Cutting(part_bytes, timedelta(days=7)),
                lambda: bench.time[0],
            )
            bench = Bench(store, pool, objects, planning, writing, folder, part_bytes)
            yield bench
    finally:
        await copies.close()
        await pool.close()


async def decrypted(pool: asyncpg.Pool, folder: Path) -> dict[str, bytes]:
    """Give the contents of all files of exports in a folder, listed or not, by their names."""
    objects, found = ExportObjects.from_url(folder.as_uri()), {}
    for path in sorted((folder / "exports").rglob("*.ndjson")):
        name, length = str(path.relative_to(folder)), path.stat().st_size - HEAD
        job = name.split("/")[1]
        kept = await pool.fetchval("SELECT data_key FROM exports.jobs WHERE job = $1", job)
        size = length - TAG * -(-length // SEALED)
        file = SealedObject(name, size, KEYS.unwrap(kept, data_key_name(job)))
        found[name] = b"".join([piece async for piece in objects.read(file, 0, size)])
    return found


def patient(id_: str, **more: Any) -> Json:
    """Give a Patient."""
    return {"resourceType": "Patient", "id": id_, **more}


def observation(id_: str, of: str, **more: Any) -> Json:
    """Give an Observation of a patient."""
    return {
        "resourceType": "Observation",
        "id": id_,
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": f"Patient/{of}"},
        **more,
    }


def names(lines: Sequence[Json]) -> list[str]:
    """Give what the lines are: `Type/id`, in order."""
    return sorted(f"{line['resourceType']}/{line.get('id', '')}" for line in lines)
