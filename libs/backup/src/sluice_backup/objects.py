"""Objects, copied byte for byte as the object store has them, into a backup's folder and back."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
import obstore
from obstore.store import ObjectStore as Backend

from sluice_backup.earlier import Earlier
from sluice_backup.manifest import LISTING, BackupError, ObjectFacts, listed, path_of
from sluice_storage.objects_address import open_backend
from sluice_storage.objects_plain import read_plain
from sluice_storage.objects_upload import MissingObjectError, ObjectStoreError, translated

T = TypeVar("T")

_AT_ONCE = 16
_WINDOW = 8 * 1024 * 1024
_PREFIXES = ("contents", "sha256", "exports", "staging")


@dataclass(slots=True)
class Copied:
    """How many objects a backup has, how many bytes they have, and the keys of those that are missing.

    `linked` of them were taken over from an earlier one.
    """

    count: int = 0
    linked: int = 0
    size: int = 0
    missing: list[str] = field(default_factory=list)


async def copy_out(url: str, needed: Iterable[str], folder: Path, earlier: Earlier | None = None) -> Copied:
    """Copy objects into a backup's folder, or link what an earlier one has, and list them there.

    Raises
    ------
    BackupError
        The store failed.
    """
    store, _ = open_backend(url)
    copied = Copied()
    with (folder / LISTING).open("wb") as listing:

        async def copy(key: str) -> None:
            try:
                found, linked = await _read(store, key, path_of(folder, key), earlier)
            except MissingObjectError:
                copied.missing.append(key)
                return
            listing.write(msgspec.json.encode(found) + b"\n")
            copied.count += 1
            copied.linked += linked
            copied.size += found.size

        await _each(needed, copy)
    return copied


async def copy_in(url: str, folder: Path) -> int:
    """Put a backup's objects into a store; give how many there were.

    Raises
    ------
    BackupError
        The store failed.
    """
    store, _ = open_backend(url)
    count = 0

    async def copy(each: ObjectFacts) -> None:
        nonlocal count
        with translated():
            await obstore.put_async(store, each.key, path_of(folder, each.key))
        count += 1

    await _each(listed(folder), copy)
    return count


async def empty(url: str) -> bool:
    """Say whether a store has no objects of ours."""
    return not [keys async for keys in _keys(open_backend(url)[0], 1)]


async def clear(url: str) -> None:
    """Remove all of our objects from a store."""
    store, _ = open_backend(url)
    async for keys in _keys(store, 500):
        with translated():
            await obstore.delete_async(store, keys)


async def _keys(store: Backend, at_once: int) -> AsyncIterator[list[str]]:
    try:
        with translated():
            for prefix in _PREFIXES:
                async for batch in obstore.list(store, prefix, chunk_size=at_once):
                    if batch:
                        yield [meta["path"] for meta in batch]
    except ObjectStoreError as error:
        raise _failed(error) from None


async def _read(store: Backend, key: str, path: Path, earlier: Earlier | None) -> tuple[ObjectFacts, bool]:
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with translated():
        meta = await obstore.head_async(store, key)
        size = meta["size"]
        if earlier is not None and (taken := earlier.take(key, size, meta["last_modified"], path)):
            return taken, True
        file = await asyncio.to_thread(path.open, "xb")
        try:
            async for window in read_plain(store, key, 0, size, _WINDOW):
                digest.update(window)
                await asyncio.to_thread(file.write, window)
        finally:
            file.close()
    return ObjectFacts(key=key, size=size, sha256=digest.hexdigest()), False


async def _each(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do the work for each item, a few at a time."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(item: T) -> None:
        try:
            await work(item)
        finally:
            free.release()

    try:
        async with asyncio.TaskGroup() as group:
            for item in items:
                await free.acquire()
                group.create_task(one(item))
    except* ObjectStoreError as errors:
        raise _failed(errors.exceptions[0]) from None


def _failed(error: BaseException) -> BackupError:
    return BackupError(f"the object store failed ({type(error).__name__})")
