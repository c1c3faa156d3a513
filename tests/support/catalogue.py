"""A catalogue on a test's own database, and shortcuts to fill it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
from obstore.store import MemoryStore

from sluice_contracts.commands import ConflictResolution
from sluice_storage.catalogue import Catalogue
from sluice_storage.catalogue.attachment import Attached, Attachment
from sluice_storage.catalogue.model import Project
from sluice_storage.objects import ObjectStore, name_of
from sluice_storage.pool import open_pool
from support.object_stores import KEYS
from support.stack import Database


@dataclass
class Bench:
    """A catalogue, with the pools of the attacher and of the fetcher, who owns the jobs."""

    catalogue: Catalogue
    objects: ObjectStore
    pool: asyncpg.Pool
    fetcher: asyncpg.Pool
    numbers: Any = field(default_factory=count)

    async def has(self, sha256: bytes | None) -> bool:
        """Say whether the content has a row, and its object is there."""
        row = await self.pool.fetchrow("SELECT object FROM files.blobs WHERE sha256 = $1", sha256)
        return row is not None and row["object"] is not None and name_of(row["object"]) in await self.stored()

    async def stored(self) -> set[str]:
        """Give the names of all objects."""
        return {
            name for shard in range(256) async for batch in self.objects.listed(shard) for name, _ in batch
        }

    async def project(self, owner: str) -> Project:
        """Create a project of the owner's."""
        slug = f"{owner}/p{next(self.numbers)}"
        return await self.catalogue.projects.create(owner, slug, name=slug)

    async def job(self, items: int = 1, job: str | None = None) -> str:
        """Plan a job without items of its own."""
        job = job or str(uuid4())
        await self.fetcher.execute(
            """
            INSERT INTO documents.jobs (job, client, subject, conflict_resolution, tags, items, submitted_at)
            VALUES ($1, 'c', 's', 'SKIP', '{}', $2, now())
            """,
            job,
            items,
        )
        return job

    async def attachment(
        self,
        job: str,
        item: int,
        folder: str,
        name: str,
        content: bytes = b"content",
        rule: ConflictResolution = ConflictResolution.SKIP,
        metadata: Mapping[str, Any] | None = None,
        tags: tuple[str, ...] = (),
    ) -> Attachment:
        """Store a content and give the attachment that refers to it."""
        return Attachment(
            job=job,
            item=item,
            source="source",
            folder=folder,
            name=name,
            rule=rule,
            stored=await self.objects.put(content),
            content_type="text/plain",
            metadata=msgspec.json.encode(dict(metadata or {})).decode(),
            tags=tags,
        )

    async def file(
        self,
        project: Project,
        name: str,
        content: bytes = b"content",
        *,
        folder: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: tuple[str, ...] = (),
    ) -> str:
        """Attach a file by a job of its own and give its id."""
        wanted = await self.attachment(
            await self.job(), 0, folder or project.root, name, content, metadata=metadata, tags=tags
        )
        (result,) = await self.catalogue.attach([wanted])
        assert isinstance(result, Attached)
        return result.entry


@asynccontextmanager
async def open_bench(database: Database, objects: ObjectStore | None = None) -> AsyncIterator[Bench]:
    """Open a catalogue with its objects in memory: attaching as the attacher, the rest as the gateway."""
    objects = objects or ObjectStore(MemoryStore(), KEYS)
    pool = await open_pool(database.dsn_for("attacher"), size=8)
    gateway = await open_pool(database.dsn_for("gateway"), size=8)
    fetcher = await open_pool(database.dsn_for("fetcher"), size=1)
    catalogue, attaching = Catalogue(gateway, objects), Catalogue(pool, objects)
    catalogue.attach, catalogue.blobs = attaching.attach, attaching.blobs
    try:
        yield Bench(catalogue, objects, pool, fetcher)
    finally:
        for each in (pool, gateway, fetcher):
            await each.close()
