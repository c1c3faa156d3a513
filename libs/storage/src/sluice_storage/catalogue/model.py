"""What the catalogue holds, in its own words: projects, members, entries, and how they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

T = TypeVar("T")

MetadataValue = str | int | float | bool | list[str] | None
"""A metadata value as the import API allows it; a null in a patch removes the key."""


class CatalogueError(Exception):
    """The catalogue refused; nothing was changed."""


class NotFoundError(CatalogueError):
    """There is no such thing, or the subject may not know that there is."""


class ForbiddenError(CatalogueError):
    """The subject is a member of the project but lacks the permission this needs."""


class NameTakenError(CatalogueError):
    """The folder, or the installation, already has something of that name; `entry` is its id if known."""

    def __init__(self, entry: str | None = None) -> None:
        super().__init__("the name is taken")
        self.entry = entry


class NotEmptyError(CatalogueError):
    """The folder still holds something."""


class InvalidMoveError(CatalogueError):
    """A folder cannot move into itself or what it holds, a root not at all, nothing to another project."""


class EntryKind(StrEnum):
    """What an entry is."""

    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a member may do; every member may read."""

    write: bool = False
    copy: bool = False
    execute: bool = False
    admin: bool = False


OWNER = Permissions(write=True, copy=True, execute=True, admin=True)


@dataclass(frozen=True, slots=True)
class Member:
    """A subject's membership of a project."""

    subject: str
    permissions: Permissions


@dataclass(frozen=True, slots=True)
class Project:
    """A project; `id` is `owner/slug`, `root` the id of the folder that holds everything in it."""

    id: str
    name: str
    description: str
    tags: tuple[str, ...]
    root: str
    created_by: str
    created_on: datetime
    modified_on: datetime
    permissions: Permissions


@dataclass(frozen=True, slots=True)
class Origin:
    """The import a file came by: job id, item (position in the job) and source id."""

    job: str
    item: int
    source: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder.

    `id` is 24 hexadecimal digits; `parent` is None for a project's root only. `size` (bytes) and `sha256`
    (32 bytes) are None for folders. `name` is safe to show: see `sluice_storage.catalogue.naming`.
    """

    id: str
    project: str
    parent: str | None
    kind: EntryKind
    name: str
    size: int | None
    sha256: bytes | None
    content_type: str | None
    metadata: Mapping[str, Any]
    tags: tuple[str, ...]
    origin: Origin | None
    created_on: datetime
    modified_on: datetime


@dataclass(frozen=True, slots=True)
class Destination:
    """A folder that a subject may write into."""

    project: str
    folder: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Which entries are asked for, by name: those directly in `parent`, or with `recursive` all below.

    Several values of one field mean any of them, different fields must all match (the Seven Bridges v2 rule):
    `names` are exact, `metadata` maps a key to values (one given as text also matches the number or boolean
    that it spells, and an element of a list). `job` keeps what one import made.
    """

    parent: str
    recursive: bool = False
    kind: EntryKind | None = None
    names: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    job: str | None = None
    limit: int = 50
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list; `total` counts everything that matches, whatever the page."""

    items: tuple[T, ...]
    total: int
