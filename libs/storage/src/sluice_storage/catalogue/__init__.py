"""Projects, folders and files: what an import lands in, and what the files API shows.

`Catalogue` is the whole of it for a service; `sluice_storage.catalogue.model` has its words. Every call names
the subject it is made for: what a subject is not a member of does not exist for them (`NotFoundError`), what
they are a member of without the permission is refused (`ForbiddenError`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

import asyncpg

from sluice_storage.catalogue.attaching import Attaching
from sluice_storage.catalogue.blobs import Blobs
from sluice_storage.catalogue.entries import Entries
from sluice_storage.catalogue.members import Members
from sluice_storage.catalogue.projects import Projects
from sluice_storage.catalogue.removal import Removal
from sluice_storage.objects import ObjectStore


def random_id() -> str:
    """Give a new entry id: 24 random hexadecimal digits."""
    return secrets.token_hex(12)


def utc_now() -> datetime:
    """Give the time."""
    return datetime.now(UTC)


class Catalogue:
    """The catalogue over one pool and one object store.

    Parameters
    ----------
    pool
        Connections of a role that owns the `files` schema.
    objects
        Where contents are.
    new_id
        Gives a new entry id.
    now
        Gives the time.

    Attributes
    ----------
    projects, members, entries
        What is there, for the files API.
    remove
        Deletes entries and projects.
    blobs
        Removes contents that nothing refers to.
    attach
        Brings the files of imports in.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        objects: ObjectStore,
        *,
        new_id: Callable[[], str] = random_id,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.projects = Projects(pool, new_id, now)
        self.members = Members(pool)
        self.entries = Entries(pool, objects, new_id, now)
        self.blobs = Blobs(pool, objects, now)
        self.remove = Removal(pool, self.blobs, now)
        self.attach = Attaching(pool, objects.remove, new_id, now)
