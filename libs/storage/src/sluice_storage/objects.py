"""The object store: contents under their SHA-256, in a local folder or with any cloud that obstore speaks to.

A content is either there whole or not at all. Small ones are hashed in memory and put at once; large ones
stream to a staging key while they are hashed and move to their own key when all of them is there. A process
that dies in between leaves only garbage under `staging/`, which `sweep_staging` removes a day later.

Nothing is flushed to the disk explicitly: a content outlives any process, not a power failure of the machine
with a local folder. See docs/adr/0005-content-is-not-flushed-to-disk.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import obstore
from obstore.store import LocalStore, MemoryStore
from obstore.store import ObjectStore as Backend

from sluice_storage.objects_address import open_backend
from sluice_storage.objects_upload import (
    PART,
    PARTS_AT_ONCE,
    MissingObjectError,
    ObjectStoreError,
    Stored,
    Upload,
    translated,
)

if TYPE_CHECKING:
    from obstore import GetOptions

__all__ = ["SMALL", "MissingObjectError", "ObjectStore", "ObjectStoreError", "Stored", "key"]

SMALL = 1024 * 1024
"""Bytes up to which a content is held in memory; beyond, it streams."""

# Bytes that are hashed and handed to the backend in one go: fewer hops between threads than network reads.
_HAND_OVER = 512 * 1024
_READ_AHEAD = 256 * 1024
_WINDOW = 2 * 1024 * 1024
_STAGING = "staging"
_CONTENTS = "sha256"
# S3 copies no larger object in one request; a larger one is read and written again.
_COPY_LIMIT = 5 * 1024**3


class ObjectStore:
    """Contents by their hash, over one obstore backend.

    Parameters
    ----------
    backend
        Where objects are: a bucket with a prefix, or a folder.
    folder
        The folder, when it is one: small contents are then written directly, because handing them to another
        thread and back costs three times the work of writing 20 KB, and what a killed process left half
        written is looked for where the backend does not show it.
    small
        Bytes up to which a content is held in memory.
    """

    def __init__(self, backend: Backend, *, folder: Path | None = None, small: int = SMALL) -> None:
        self._backend = backend
        self._folder = folder
        self._direct = isinstance(backend, LocalStore | MemoryStore)
        self._small = small

    @classmethod
    def from_url(cls, url: str) -> ObjectStore:
        """Open the store that `url` names: `file:///folder`, `s3://bucket/prefix` and the like.

        See `sluice_storage.objects_address` for what else an address may say.
        """
        backend, folder = open_backend(url)
        return cls(backend, folder=folder)

    async def put(self, data: bytes | bytearray) -> Stored:
        """Store a content that is in memory; again, if it is already there."""
        stored = Stored(hashlib.sha256(data).digest(), len(data))
        with translated():
            if self._folder is not None:
                _put_file(self._folder, key(stored.sha256), data)
            elif self._direct:
                obstore.put(self._backend, key(stored.sha256), data, use_multipart=False)
            else:
                await obstore.put_async(self._backend, key(stored.sha256), data, use_multipart=False)
        return stored

    async def write(
        self, chunks: AsyncGenerator[bytes, None], *, large: asyncio.Semaphore | None = None
    ) -> Stored:
        """Store what `chunks` yields, in memory bounded whatever its length.

        Parameters
        ----------
        chunks
            The content. It is closed in the end; an error it raises passes through and leaves nothing behind.
        large
            Bounds how many streamed uploads are under way; it is held from the moment the content turns out
            not to be small.

        Raises
        ------
        ObjectStoreError
            The store failed.
        """
        async with aclosing(chunks):
            head = bytearray()
            async for chunk in chunks:
                head += chunk
                if len(head) > self._small:
                    break
            else:
                return await self.put(bytes(head))
            async with large or nullcontext():
                return await self._write_large(head, chunks)

    async def _write_large(self, pending: bytearray, chunks: AsyncIterator[bytes]) -> Stored:
        upload = Upload(self._backend, f"{_STAGING}/{uuid4().hex}")
        try:
            async for chunk in chunks:
                pending += chunk
                if len(pending) >= _HAND_OVER:
                    await upload.send(bytes(pending))
                    pending.clear()
            await upload.send(bytes(pending))
            stored = await upload.finish()
        except BaseException:
            await upload.abandon()
            raise
        with translated():
            await self._settle(upload.key, stored)
        return stored

    async def _settle(self, staged: str, stored: Stored) -> None:
        target = key(stored.sha256)
        if stored.size > _COPY_LIMIT and not self._direct:
            await obstore.put_async(
                self._backend,
                target,
                self._windows(staged, 0, stored.size),
                use_multipart=True,
                chunk_size=PART,
                max_concurrency=PARTS_AT_ONCE,
            )
            await obstore.delete_async(self._backend, staged)
        else:
            await obstore.rename_async(self._backend, staged, target)

    async def exists(self, sha256: bytes) -> bool:
        """Tell whether the content is there."""
        try:
            with translated():
                await obstore.head_async(self._backend, key(sha256))
        except MissingObjectError:
            return False
        return True

    async def read(self, sha256: bytes, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the content's bytes from `start` up to before `end` (its own end if None).

        Raises
        ------
        MissingObjectError
            There is no such content.
        ValueError
            `start` is negative or lies after `end`.
        """
        if start < 0 or (end is not None and end < start):
            raise ValueError("no such range")
        if end == start:
            return
        path = key(sha256)
        with translated():
            if not self._direct:
                stop = (await obstore.head_async(self._backend, path))["size"] if end is None else end
                async for chunk in self._windows(path, start, stop):
                    yield chunk
                return
            wanted: GetOptions = {}
            if start or end is not None:
                # An empty content has no range that a backend would accept.
                wanted["range"] = {"offset": start} if end is None else (start, end)
            found = await obstore.get_async(self._backend, path, options=wanted)
            async for chunk in found.stream(_READ_AHEAD):
                yield bytes(chunk)

    async def _windows(self, path: str, start: int, end: int) -> AsyncIterator[bytes]:
        # A request of its own for each: a cloud's request ends after 30 s, however slow the reader is.
        for at in range(start, end, _WINDOW):
            yield bytes(
                await obstore.get_range_async(self._backend, path, start=at, end=min(at + _WINDOW, end))
            )

    async def remove(self, sha256: bytes) -> None:
        """Remove the content; that it is not there is no error."""
        with suppress(MissingObjectError), translated():
            await obstore.delete_async(self._backend, key(sha256))

    async def listed(self, shard: int) -> AsyncIterator[list[tuple[bytes, datetime]]]:
        """Yield batches of (hash, time of storing), of contents whose hash begins with the byte `shard`."""
        with translated():
            async for batch in obstore.list(self._backend, f"{_CONTENTS}/{shard:02x}", chunk_size=500):
                found = [(_hash_of(meta["path"]), meta["last_modified"]) for meta in batch]
                yield [(sha256, at) for sha256, at in found if sha256 is not None]

    async def sweep_staging(self, before: datetime) -> int:
        """Remove what was left unfinished before that time; give how many objects that were.

        Parts of uploads that a killed process had begun in a cloud are invisible here: the bucket needs its
        usual lifecycle rule for incomplete multipart uploads.
        """
        if self._folder is not None:
            return await asyncio.to_thread(_sweep_folder, self._folder, before)
        old: list[str] = []
        with translated():
            async for batch in obstore.list(self._backend, _STAGING):
                old += [meta["path"] for meta in batch if meta["last_modified"] < before]
            if old:
                await obstore.delete_async(self._backend, old)
        return len(old)


def key(sha256: bytes) -> str:
    """Give the key of the content with this hash."""
    name = sha256.hex()
    return f"{_CONTENTS}/{name[:2]}/{name[2:]}"


def _hash_of(path: str) -> bytes | None:
    prefix, _, name = path.rpartition(f"{_CONTENTS}/")
    digits = name.replace("/", "")
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        return None
    return found if len(found) == hashlib.sha256().digest_size and not prefix else None


def _put_file(folder: Path, target: str, data: bytes | bytearray) -> None:
    """Write a small content at its place in a folder.

    What is there already can only be a beginning of the same bytes, which a killed process left, or all of
    them: so nothing is truncated, nothing is renamed, and whoever reads the content meanwhile sees the same
    bytes. Renaming would cost as much as the writing, and more where it replaces a file.
    """
    path = f"{folder}/{target}"
    try:
        _write_file(path, data)
    except FileNotFoundError:
        # The first content in this shard, or someone tidied up.
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _write_file(path, data)


def _write_file(path: str, data: bytes | bytearray) -> None:
    # Without `Path` and file objects, which together take longer than the writing.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def _sweep_folder(folder: Path, before: datetime) -> int:
    swept = 0
    staging = folder / _STAGING
    for path in staging.iterdir() if staging.is_dir() else ():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before.timestamp():
                path.unlink()
                swept += 1
    return swept
