"""Entries as one subject may read or change them."""

from __future__ import annotations

import asyncpg

from sluice_storage.catalogue.model import Entry, ForbiddenError, NotFoundError
from sluice_storage.catalogue.rows import ENTRY_COLUMNS, Connection, entry_of

ENTRY_OF_MEMBER = (
    "SELECT " + ENTRY_COLUMNS + ", m.can_write "
    "FROM files.entries e JOIN files.members m ON m.project = e.project AND m.subject = $1 "
)


async def readable(at: asyncpg.Pool | Connection, subject: str, entry: str) -> Entry:
    """Give an entry that the subject may read, or raise NotFoundError."""
    row = await at.fetchrow(ENTRY_OF_MEMBER + "WHERE e.id = $2", subject, entry)
    if row is None:
        raise NotFoundError
    return entry_of(row)


async def writable(at: asyncpg.Pool | Connection, subject: str, entry: str) -> Entry:
    """Give an entry that the subject may change, or raise NotFoundError or ForbiddenError."""
    row = await at.fetchrow(ENTRY_OF_MEMBER + "WHERE e.id = $2", subject, entry)
    if row is None:
        raise NotFoundError
    if not row["can_write"]:
        raise ForbiddenError
    return entry_of(row)
