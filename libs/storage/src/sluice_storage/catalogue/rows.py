"""Rows of the `files` schema as the catalogue's own types, and the locks its writers share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from sluice_storage.catalogue.model import Entry, EntryKind, Origin, Permissions, Project

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

ENTRY_COLUMNS = (
    "e.id, e.project, e.parent, e.kind, e.name, e.size, e.sha256, e.content_type, "
    "e.metadata::text AS metadata, e.tags, e.origin_job, e.origin_item, e.origin_source, "
    "e.created_on, e.modified_on"
)


def entry_of(row: asyncpg.Record) -> Entry:
    """Give the entry in a row of `ENTRY_COLUMNS`."""
    job = row["origin_job"]
    return Entry(
        id=row["id"],
        project=row["project"],
        parent=row["parent"],
        kind=EntryKind(row["kind"]),
        name=row["name"],
        size=row["size"],
        sha256=row["sha256"],
        content_type=row["content_type"],
        metadata=msgspec.json.decode(row["metadata"]),
        tags=tuple(row["tags"]),
        origin=None if job is None else Origin(str(job), row["origin_item"], row["origin_source"]),
        created_on=row["created_on"],
        modified_on=row["modified_on"],
    )


def permissions_of(row: asyncpg.Record) -> Permissions:
    """Give the permissions in a row of `files.members`."""
    return Permissions(row["can_write"], row["can_copy"], row["can_execute"], row["can_admin"])


def project_of(row: asyncpg.Record) -> Project:
    """Give the project in a row of `files.projects` joined with its member."""
    return Project(
        id=row["id"],
        name=row["name"],
        description=row["description"],
        tags=tuple(row["tags"]),
        root=row["root"],
        created_by=row["created_by"],
        created_on=row["created_on"],
        modified_on=row["modified_on"],
        permissions=permissions_of(row),
    )


async def lock_folders(connection: Connection, folders: Iterable[str]) -> dict[str, str]:
    """Lock these folders against every other change of what is directly in them; give their projects.

    Locks are taken in the order of (project, folder), and each project is held against deletion first. What
    is not there, or is no folder, is left out.
    """
    rows = await connection.fetch(
        """
        SELECT f.id, f.project FROM files.entries f JOIN files.projects p ON p.id = f.project
        WHERE f.id = ANY($1) AND f.kind = 'folder'
        ORDER BY p.id, f.id FOR KEY SHARE OF p FOR NO KEY UPDATE OF f
        """,
        list(folders),
    )
    return {row["id"]: row["project"] for row in rows}


async def lock_structure(connection: Connection, project: str) -> None:
    """Lock a project's tree of folders against every other change of the tree; files still come and go."""
    await connection.execute("SELECT 1 FROM files.projects WHERE id = $1 FOR NO KEY UPDATE", project)


async def release_blobs(connection: Connection, hashes: Sequence[bytes], now: datetime) -> None:
    """Mark those of these contents that no file refers to any more, where the last file with them goes.

    Their data keys are destroyed: nothing opens their objects from then on, wherever copies of them are. The
    objects are removed afterwards, by `sluice_storage.catalogue.blobs.Blobs`. The blobs are locked
    first, so that of two transactions that each drop one of the last two references the later one sees it.
    """
    distinct = sorted(set(hashes))
    if not distinct:
        return
    await connection.execute(
        "SELECT 1 FROM files.blobs WHERE sha256 = ANY($1) ORDER BY sha256 FOR UPDATE", distinct
    )
    await connection.execute(
        """
        UPDATE files.blobs b SET removed_at = $2, data_key = NULL
        WHERE b.sha256 = ANY($1) AND b.removed_at IS NULL
        AND NOT EXISTS (SELECT FROM files.entries e WHERE e.sha256 = b.sha256)
        """,
        distinct,
        now,
    )


def json_text(value: Any) -> str:
    """Give the value as JSON text, the way a jsonb parameter wants it."""
    return msgspec.json.encode(value).decode()
