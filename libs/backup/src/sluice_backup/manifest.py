"""What a backup is: a folder whose manifest says what is in it, written when all the rest is there.

| file | is |
|---|---|
| `manifest.json` | the manifest: without it the folder is no backup |
| `database.dump` | the database, as `pg_dump --format=custom` writes it |
| `objects.ndjson` | a line for each object: its key, size and SHA-256 |
| `objects/` | the objects, byte for byte as the object store has them |
| `accepted.ndjson` | commands of jobs that were accepted and of which the database knew nothing yet |
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from sluice_contracts.wire import UNREADABLE

T = TypeVar("T")

VERSION = 1
MANIFEST = "manifest.json"
DATABASE = "database.dump"
LISTING = "objects.ndjson"
OBJECTS = "objects"
ACCEPTED = "accepted.ndjson"


class BackupError(Exception):
    """Something that keeps a backup or a restore from being made, said in one line."""


class FileFacts(Struct, frozen=True, kw_only=True):
    """A file's size in bytes, and its SHA-256 in hex."""

    size: int
    sha256: str


class Role(Struct, frozen=True, kw_only=True):
    """A role of the database server: whether it can log in, and the roles it is a member of."""

    name: str
    login: bool
    member_of: tuple[str, ...]


class Stretch(Struct, frozen=True, kw_only=True):
    """Where a partition of a topic of starts was: from `first` up to before `end` nothing was planned yet."""

    topic: str
    partition: int
    first: int
    end: int


class Manifest(Struct, frozen=True, kw_only=True):
    """What is in a backup.

    Parameters
    ----------
    format
        The version of all this.
    sluice
        The version of Sluice.
    migrations
        The database's, in their order.
    began_at, dumped_at, ended_at
        When; the database is as it was at `dumped_at`.
    postgres, cluster
        The server's version, and the id of the Kafka cluster.
    roles
        What the dump takes for granted.
    log
        Where the log was.
    secrets
        Fingerprints of the secrets that things in the database are sealed under; empty: not known.
    files
        All files but the objects' own and this one.
    objects, object_bytes
        How many objects there are; None: they are backed up elsewhere.
    """

    format: int = VERSION
    sluice: str
    migrations: tuple[str, ...]
    began_at: datetime
    dumped_at: datetime
    ended_at: datetime
    postgres: str
    cluster: str
    roles: tuple[Role, ...]
    log: tuple[Stretch, ...]
    secrets: tuple[str, ...]
    files: dict[str, FileFacts]
    objects: int | None
    object_bytes: int


class ObjectFacts(Struct, frozen=True, kw_only=True):
    """One object: a line of the listing."""

    key: str
    size: int
    sha256: str


def begin(folder: Path) -> None:
    """Make the folder of a new backup, which is its owner's alone.

    Raises
    ------
    BackupError
        There is something in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise BackupError(f"{folder} is not empty: each backup has a folder of its own")
    folder.chmod(0o700)


def facts_of(path: Path) -> FileFacts:
    """Read a file, and give what there is to know of it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return FileFacts(size=file.tell(), sha256=digest.hexdigest())


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest: from now on the folder is a backup, also after the machine has failed."""
    new = folder / f"{MANIFEST}.new"
    with new.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder / MANIFEST)


def lines_of(path: Path, kind: type[T]) -> Iterator[T]:
    """Give what the lines of a file say, one after another."""
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as lines:
        for line in lines:
            yield decoder.decode(line)


def listed(folder: Path) -> Iterator[ObjectFacts]:
    """Give the backup's objects, one after another."""
    return lines_of(folder / LISTING, ObjectFacts)


def read(folder: Path) -> Manifest:
    """Give a backup's manifest.

    Raises
    ------
    BackupError
        It is no backup.
    """
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise BackupError(f"{folder} has no {MANIFEST}: it is no backup, or one that broke off") from None
    except UNREADABLE:
        raise BackupError(f"{folder / MANIFEST} is not as it was written, or of a newer Sluice") from None
    if manifest.format != VERSION:
        raise BackupError(f"{folder} is a backup of format {manifest.format}, which is not known here")
    return manifest


def opened(folder: Path) -> Manifest:
    """Give a backup's manifest after looking at every file of it.

    Raises
    ------
    BackupError
        It is no backup, or not as it was made.
    """
    manifest = read(folder)
    for name, facts in manifest.files.items():
        _compare(folder / name, facts)
    count = 0
    for count, each in enumerate(listed(folder) if manifest.objects is not None else (), 1):  # noqa: B007
        _compare(path_of(folder, each.key), FileFacts(size=each.size, sha256=each.sha256))
    if manifest.objects not in (None, count):
        raise BackupError(f"{folder} has {count} objects and should have {manifest.objects}")
    return manifest


def path_of(folder: Path, key: str) -> Path:
    """Give where a backup has an object.

    Raises
    ------
    BackupError
        Its key leads out of the folder.
    """
    path = folder / OBJECTS / key
    if ".." in path.parts or key.startswith("/"):
        raise BackupError("an object's key leads out of the backup's folder")
    return path


def _compare(path: Path, facts: FileFacts) -> None:
    try:
        found = facts_of(path)
    except FileNotFoundError:
        raise BackupError(f"{path} is missing") from None
    if found != facts:
        raise BackupError(f"{path} is not as it was backed up")
