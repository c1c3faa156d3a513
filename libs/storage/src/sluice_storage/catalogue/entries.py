"""Files and folders: reading, listing, changing and moving them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from sluice_storage.buffers import Buffer
from sluice_storage.catalogue.access import ENTRY_OF_MEMBER, readable, writable
from sluice_storage.catalogue.listing import filters_of
from sluice_storage.catalogue.model import (
    Entry,
    EntryKind,
    InvalidMoveError,
    Listing,
    NameTakenError,
    NotFoundError,
    Page,
)
from sluice_storage.catalogue.rows import (
    ENTRY_COLUMNS,
    Connection,
    entry_of,
    json_text,
    lock_folders,
    lock_structure,
)
from sluice_storage.objects import Content as Stored
from sluice_storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Content:
    """A file's bytes from `start` up to before `end`, streamed from the object store by `chunks`."""

    entry: Entry
    start: int
    end: int
    chunks: AsyncIterator[Buffer]


class Entries:
    """Files and folders in Postgres, their contents in the object store.

    Parameters
    ----------
    pool
        Connections of a role that owns the `files` schema.
    objects
        Where contents are.
    new_id
        Gives a new entry id: 24 random hexadecimal digits.
    now
        Gives the time.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        objects: ObjectStore,
        new_id: Callable[[], str],
        now: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._objects = objects
        self._new_id = new_id
        self._now = now

    async def get(self, subject: str, entry: str) -> Entry:
        """Give a file or folder; NotFoundError if it is not the subject's to know of."""
        return await readable(self._pool, subject, entry)

    async def get_many(self, subject: str, entries: Sequence[str]) -> dict[str, Entry]:
        """Give those of these files and folders that are the subject's to know of, by id."""
        rows = await self._pool.fetch(ENTRY_OF_MEMBER + "WHERE e.id = ANY($2)", subject, list(entries))
        return {row["id"]: entry_of(row) for row in rows}

    async def list(self, subject: str, listing: Listing) -> Page[Entry]:
        """List a folder by name.

        Raises
        ------
        NotFoundError
            There is no such folder for the subject.
        """
        folder = await readable(self._pool, subject, listing.parent)
        if folder.kind is not EntryKind.FOLDER:
            raise NotFoundError
        where, values = filters_of(listing, folder)
        order = f" ORDER BY e.name, e.id LIMIT ${len(values) + 1} OFFSET ${len(values) + 2}"
        rows = await self._pool.fetch(
            # Fixed fragments and numbered parameters only: see `filters_of`.
            "SELECT " + ENTRY_COLUMNS + " FROM files.entries e WHERE " + where + order,  # noqa: S608
            *values,
            listing.limit,
            listing.offset,
        )
        total = await self._pool.fetchval(
            "SELECT count(*) FROM files.entries e WHERE " + where,  # noqa: S608
            *values,
        )
        return Page(tuple(entry_of(row) for row in rows), total)

    async def open(self, subject: str, entry: str, *, start: int = 0, end: int | None = None) -> Content:
        """Open a file's content for reading from `start` up to before `end` (at most its size).

        Raises
        ------
        NotFoundError
            There is no such file for the subject; a folder has no content.
        ValueError
            The range lies outside the content.
        """
        found = await readable(self._pool, subject, entry)
        if found.sha256 is None or found.size is None:
            raise NotFoundError
        stop = found.size if end is None else min(end, found.size)
        if not 0 <= start <= stop:
            raise ValueError("no such range")
        row = await self._pool.fetchrow(
            "SELECT object, data_key FROM files.blobs WHERE sha256 = $1 AND removed_at IS NULL", found.sha256
        )
        if row is None:
            raise NotFoundError  # deleted between two statements
        stored = Stored(found.sha256, found.size, row["object"], row["data_key"])
        return Content(found, start, stop, self._objects.read(stored, start, stop))

    async def create_folder(self, subject: str, parent: str, name: str) -> Entry:
        """Create an empty folder; needs write permission.

        Parameters
        ----------
        name
            Safe already (`sluice_storage.catalogue.naming.safe_name`).

        Raises
        ------
        NameTakenError
            The parent has something of that name.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            folder = await writable(connection, subject, parent)
            await lock_structure(connection, folder.project)
            if parent not in await lock_folders(connection, [parent]):
                raise NotFoundError
            await _need_free(connection, parent, name)
            made = self._new_id()
            await connection.execute(
                """
                INSERT INTO files.entries (id, project, parent, kind, name, created_on, modified_on)
                VALUES ($1, $2, $3, 'folder', $4, $5, $5)
                """,
                made,
                folder.project,
                parent,
                name,
                self._now(),
            )
            return await readable(connection, subject, made)

    async def change(
        self,
        subject: str,
        entry: str,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        replace_metadata: bool = False,
    ) -> Entry:
        """Change what is given; needs write permission.

        Parameters
        ----------
        name
            Safe already (`sluice_storage.catalogue.naming.safe_name`).
        metadata
            Keys to set; a null removes its key. With `replace_metadata` the other keys go too.

        Raises
        ------
        NameTakenError
            Its folder has something else of that name.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            found = await writable(connection, subject, entry)
            if name is not None and name != found.name:
                await self._place(connection, found, found.parent, name)
            if tags is not None:
                await connection.execute(
                    "UPDATE files.entries SET tags = $2, modified_on = $3 WHERE id = $1",
                    entry,
                    list(tags),
                    self._now(),
                )
            if metadata is not None:
                await connection.execute(
                    """
                    UPDATE files.entries SET modified_on = $5,
                        metadata = (CASE WHEN $4 THEN '{}' ELSE metadata END || $2::jsonb) - $3::text[]
                    WHERE id = $1
                    """,
                    entry,
                    json_text({key: value for key, value in metadata.items() if value is not None}),
                    [key for key, value in metadata.items() if value is None],
                    replace_metadata,
                    self._now(),
                )
            return await readable(connection, subject, entry)

    async def move(self, subject: str, entry: str, parent: str, *, name: str | None = None) -> Entry:
        """Move a file or folder to another folder of its project; needs write permission.

        Raises
        ------
        InvalidMoveError
            To another project, into itself or what it holds, or a project's root.
        NameTakenError
            The destination has something else of that name.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            found = await writable(connection, subject, entry)
            target = await writable(connection, subject, parent)
            if target.kind is not EntryKind.FOLDER:
                raise NotFoundError
            if target.project != found.project:
                raise InvalidMoveError
            await self._place(connection, found, parent, name or found.name)
            return await readable(connection, subject, entry)

    async def _place(self, connection: Connection, found: Entry, parent: str | None, name: str) -> None:
        if parent is None or found.parent is None:
            raise InvalidMoveError
        folders = {found.parent, parent}
        if found.kind is EntryKind.FOLDER:
            await lock_structure(connection, found.project)
            await _need_no_cycle(connection, found.id, parent)
            # Its own row changes too, and must be locked in its place in the order.
            folders.add(found.id)
        if set(await lock_folders(connection, folders)) != folders:
            raise NotFoundError
        await _need_free(connection, parent, name, but=found.id)
        moved = await connection.fetchval(
            """
            UPDATE files.entries SET parent = $2, name = $3, modified_on = $4,
                renamed_from = NULL, renamed_number = NULL
            WHERE id = $1 AND parent = $5 RETURNING id
            """,
            found.id,
            parent,
            name,
            self._now(),
            found.parent,
        )
        if moved is None:
            raise NotFoundError


async def _need_free(connection: Connection, parent: str, name: str, but: str | None = None) -> None:
    holder = await connection.fetchval(
        "SELECT id FROM files.entries WHERE parent = $1 AND name = $2 AND id IS DISTINCT FROM $3",
        parent,
        name,
        but,
    )
    if holder is not None:
        raise NameTakenError(holder)


async def _need_no_cycle(connection: Connection, folder: str, parent: str) -> None:
    inside = await connection.fetchval(
        """
        WITH RECURSIVE above AS (
            SELECT id, parent FROM files.entries WHERE id = $2
            UNION ALL SELECT e.id, e.parent FROM files.entries e JOIN above a ON e.id = a.parent
        ) SELECT true FROM above WHERE id = $1
        """,
        folder,
        parent,
    )
    if inside:
        raise InvalidMoveError
