"""The resource store on a test's own database, and shortcuts to fill it and to read all that is in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec

from sluice_storage.pool import open_pool
from sluice_storage.resources.copy_threads import Copies
from sluice_storage.resources.groups import Groups
from sluice_storage.resources.loader import Loader, Outcome
from sluice_storage.resources.lookup import Lookup
from sluice_storage.resources.model import Part, Snapshot, Window
from sluice_storage.resources.planner import Planner
from sluice_storage.resources.reader import Reader
from support.stack import Database

Json = dict[str, Any]


@dataclass
class Store:
    """A store as the loader's role, and as the gateway's, which may only read."""

    owner: asyncpg.Pool
    readers: asyncpg.Pool
    copies: Copies

    def __post_init__(self) -> None:
        self.loader = Loader(self.owner)
        self.planner = Planner(self.readers)
        self.reader = Reader(self.readers, self.copies)
        self.lookup = Lookup(self.readers)
        self.groups = Groups(self.readers)

    async def load(self, *resources: Json | bytes, loader: Loader | None = None) -> Outcome:
        """Load resources, or lines as they are, as one file."""
        return await (loader or self.loader).load(ndjson(*resources), "file.ndjson")

    async def window(self, since: Snapshot | None = None, until: Snapshot | None = None) -> Window:
        """Take a snapshot; give its window, from the time of one snapshot to that of another."""
        snapshot = await self.planner.snapshot()
        return Window(
            snapshot, since.time if since is not None else None, until.time if until is not None else None
        )

    async def all_in(self, window: Window, *, compartment: bool = False, part_bytes: int = 1 << 26) -> Json:
        """Read everything in the window: resources by `Type/id`."""
        types = list(await self.planner.types(window))
        parts = await self.planner.parts(types, window, compartment=compartment, part_bytes=part_bytes)
        return await self.read(parts, window)

    async def of_patients(
        self, window: Window, patients: Sequence[str], *, part_bytes: int = 1 << 26
    ) -> Json:
        """Read everything in these patients' compartments."""
        types = list(await self.planner.types(window))
        parts = await self.planner.patient_parts(types, patients, window, part_bytes=part_bytes)
        return await self.read(parts, window)

    async def read(self, parts: Sequence[Part], window: Window) -> Json:
        """Read parts, in both ways; fail if a resource is in them twice."""
        found: Json = {}
        for part in parts:
            text, count = b"", 0
            async with aclosing(self.reader.chunks(part, window)) as chunks:
                async for chunk in chunks:
                    assert chunk.data.endswith(b"\n")
                    assert chunk.data.count(b"\n") == chunk.count
                    text += chunk.data
                    count += chunk.count
            lines = [line async for some in self.reader.lines(part, window) for line in some]
            assert text == b"".join(line + b"\n" for line in lines)
            assert count <= part.rows
            assert len(text) - count <= part.rows * part.largest
            for line in lines:
                resource = msgspec.json.decode(line)
                assert resource["resourceType"] == part.type
                key = f"{part.type}/{resource['id']}"
                assert key not in found, f"{key} is there twice"
                found[key] = resource
        return found

    async def deleted_in(
        self, window: Window, *, patients: Sequence[str] | None = None, compartment: bool = False
    ) -> set[str]:
        """Read what was deleted in the window: `Type/id`."""
        types = [
            row["type"] for row in await self.readers.fetch("SELECT DISTINCT type FROM fhir.batch_types")
        ]
        parts = await self.planner.deleted_parts(types, window, patients=patients, compartment=compartment)
        return {
            f"{one.type}/{one.id}"
            for part in parts
            async for some in self.reader.deleted(part, window)
            for one in some
        }


def lines_of(*resources: Json | bytes) -> bytes:
    """Write resources as NDJSON; bytes are lines as they are."""
    return b"".join(
        (each if isinstance(each, bytes) else msgspec.json.encode(each)) + b"\n" for each in resources
    )


async def ndjson(*resources: Json | bytes, piece: int = 1 << 16) -> AsyncIterator[bytes]:
    """Give resources as a file that comes in pieces."""
    text = lines_of(*resources)
    for place in range(0, len(text), piece):
        yield text[place : place + piece]


def plain(resource: Json) -> Json:
    """Leave the store's part of meta out."""
    meta = {key: value for key, value in resource["meta"].items() if key not in ("versionId", "lastUpdated")}
    return {
        **{key: value for key, value in resource.items() if key != "meta"},
        **({"meta": meta} if meta else {}),
    }


@asynccontextmanager
async def open_store(database: Database) -> AsyncIterator[Store]:
    """Open the store of a migrated database."""
    owner = await open_pool(database.dsn_for("loader"), size=6)
    readers = await open_pool(database.dsn_for("gateway"), size=4)
    copies = Copies(database.dsn_for("gateway"))
    try:
        yield Store(owner, readers, copies)
    finally:
        await copies.close()
        await readers.close()
        await owner.close()
