"""Deleting files, folders and projects, and with the last file of a content the content."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import asyncpg
import structlog

from sluice_storage.audit import Record, note
from sluice_storage.catalogue.access import writable
from sluice_storage.catalogue.blobs import Blobs
from sluice_storage.catalogue.model import (
    Entry,
    EntryKind,
    ForbiddenError,
    InvalidMoveError,
    NotEmptyError,
    NotFoundError,
)
from sluice_storage.catalogue.rows import Connection, lock_folders, lock_structure, release_blobs
from sluice_storage.objects import ObjectStoreError

log = structlog.get_logger(__name__)

# Contents that a deletion removes itself; beyond, it would keep its caller waiting, and the sweep does it.
_AT_ONCE = 2000

_TREE = """
    WITH RECURSIVE below AS (
        SELECT id FROM files.entries WHERE id = $1 AND kind = 'folder'
        UNION ALL
        SELECT f.id FROM files.entries f JOIN below b ON f.parent = b.id WHERE f.kind = 'folder'
    ) SELECT id FROM below
"""


class Removal:
    """Deletes, and removes the objects of contents that nothing refers to after that.

    Objects go after the deletion is committed. If the store fails then, the contents are still marked, and
    the next sweep removes them: the deletion itself never fails for that reason.
    """

    def __init__(self, pool: asyncpg.Pool, blobs: Blobs, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._blobs = blobs
        self._now = now

    async def entry(self, subject: str, entry: str, *, recursive: bool = False) -> None:
        """Delete a file, or a folder with `recursive` and all that is in it; needs write permission.

        Raises
        ------
        NotEmptyError
            The folder holds something and `recursive` was not asked for.
        InvalidMoveError
            It is a project's root, which goes with its project only.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            found = await writable(connection, subject, entry)
            if found.parent is None:
                raise InvalidMoveError
            if found.kind is EntryKind.FILE:
                dropped = await self._file(connection, found, found.parent)
            else:
                dropped = await self._folder(connection, found, found.parent, recursive)
            deleted = Record(act="file.delete", kind=found.kind.value, entity=found.id, items=len(dropped))
            await note(connection, deleted)
        await self._purge(dropped)

    async def project(self, subject: str, project: str) -> None:
        """Delete a project and all that is in it; needs admin permission."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT 1 FROM files.projects WHERE id = $1 FOR UPDATE", project)
            admin = await connection.fetchval(
                "SELECT can_admin FROM files.members WHERE project = $1 AND subject = $2", project, subject
            )
            if admin is None:
                raise NotFoundError
            if not admin:
                raise ForbiddenError
            rows = await connection.fetch(
                "DELETE FROM files.entries WHERE project = $1 RETURNING sha256", project
            )
            await connection.execute("DELETE FROM files.projects WHERE id = $1", project)
            dropped = [row["sha256"] for row in rows if row["sha256"] is not None]
            await release_blobs(connection, dropped, self._now())
            await note(
                connection,
                Record(act="file.delete", kind="project", entity=project, items=len(dropped)),
            )
        await self._purge(dropped)

    async def _file(self, connection: Connection, found: Entry, parent: str) -> list[bytes]:
        await lock_folders(connection, [parent])
        sha256 = await connection.fetchval(
            "DELETE FROM files.entries WHERE id = $1 AND parent = $2 RETURNING sha256", found.id, parent
        )
        if sha256 is None:
            raise NotFoundError
        await release_blobs(connection, [sha256], self._now())
        return [sha256]

    async def _folder(
        self, connection: Connection, found: Entry, parent: str, recursive: bool
    ) -> list[bytes]:
        # With the tree of folders locked first, no folder can appear below while those there are locked.
        await lock_structure(connection, found.project)
        tree = [row["id"] for row in await connection.fetch(_TREE, found.id)]
        if parent not in await lock_folders(connection, [*tree, parent]) or not tree:
            raise NotFoundError
        if not recursive:
            holds = await connection.fetchval(
                "SELECT true FROM files.entries WHERE parent = $1 LIMIT 1", found.id
            )
            if holds:
                raise NotEmptyError
        rows = await connection.fetch(
            "DELETE FROM files.entries WHERE parent = ANY($1) OR id = $2 RETURNING sha256", tree, found.id
        )
        dropped = [row["sha256"] for row in rows if row["sha256"] is not None]
        await release_blobs(connection, dropped, self._now())
        return dropped

    async def _purge(self, dropped: list[bytes]) -> None:
        try:
            await self._blobs.purge(dropped[:_AT_ONCE])
        except (ObjectStoreError, asyncpg.PostgresError, OSError) as error:
            log.warning("contents wait for the next sweep", count=len(dropped), error=type(error).__name__)
