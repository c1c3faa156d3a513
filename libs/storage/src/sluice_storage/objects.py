"""The object store: contents of imported files, in a local folder or with any cloud that obstore speaks to.

A content is an object of its own, under a name that nothing else ever has, encrypted under a data key of its
own. Its name says nothing of it; which object has which content only Postgres knows, where the data key is
too (docs/adr/0027). Writing the same content again makes another object. An object counts once a row names
it; whatever else is here, also what a killed process left half written, is removed a day later
(`sluice_storage.catalogue.blobs`). In a cloud the parts of an upload that was never finished are invisible:
the bucket needs its usual lifecycle rule for those.

Contents from before they were encrypted are under their SHA-256, and are read and removed there.

Nothing is flushed to the disk explicitly: a content outlives any process, not a power failure of the machine
with a local folder. See docs/adr/0005-content-is-not-flushed-to-disk.md.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

import obstore
from obstore.store import LocalStore, MemoryStore
from obstore.store import ObjectStore as Backend

from sluice_storage.buffers import Buffer
from sluice_storage.encryption.framing import Sealer, sealed
from sluice_storage.encryption.keys import DataKey, MasterKeys
from sluice_storage.encryption.opening import SealedObject, read
from sluice_storage.objects_address import open_backend
from sluice_storage.objects_folder import FolderFile, files_in, put_file, sweep
from sluice_storage.objects_plain import read_plain
from sluice_storage.objects_upload import MissingObjectError, ObjectStoreError, Stored, Upload, translated

__all__ = [
    "SMALL",
    "Content",
    "MissingObjectError",
    "ObjectStore",
    "ObjectStoreError",
    "Stored",
    "name_of",
    "plain_name",
]

SMALL = 1024 * 1024
"""Bytes up to which a content is held in memory; beyond, it streams."""

# Bytes that are hashed and handed to the backend in one go: fewer hops between threads than network reads.
_HAND_OVER = 512 * 1024
_STAGING = "staging"
_CONTENTS = "contents"
_PLAIN = "sha256"
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Content(Stored):
    """A content that is in the store, and what finds and opens it.

    Parameters
    ----------
    object
        Which object has it; None: it is from before contents were encrypted.
    data_key
        The object's data key, wrapped; None also once it is destroyed.
    """

    object: UUID | None = None
    data_key: bytes | None = field(default=None, repr=False)


class ObjectStore:
    """Contents, over one obstore backend.

    Parameters
    ----------
    backend
        Where objects are: a bucket with a prefix, or a folder.
    keys
        Make and unwrap data keys.
    folder
        The folder, when it is one: contents are then written directly, because handing a small one to another
        thread and back costs three times the work of writing 20 KB, and what a killed process left half
        written is looked for where the backend does not show it.
    small
        Bytes up to which a content is held in memory.
    """

    def __init__(
        self, backend: Backend, keys: MasterKeys, *, folder: Path | None = None, small: int = SMALL
    ) -> None:
        self._backend = backend
        self._keys = keys
        self._folder = folder
        self._direct = isinstance(backend, LocalStore | MemoryStore)
        self._small = small

    @property
    def folder(self) -> Path | None:
        """The folder that has the objects, where it is one."""
        return self._folder

    @classmethod
    def from_url(cls, url: str, keys: MasterKeys) -> ObjectStore:
        """Open the store that `url` names: `file:///folder`, `s3://bucket/prefix` and the like.

        See `sluice_storage.objects_address` for what else an address may say.
        """
        backend, folder = open_backend(url)
        return cls(backend, keys, folder=folder)

    async def put(self, data: bytes | bytearray) -> Content:
        """Store a content that is in memory."""
        made, name, key, wrapped = self._new()
        frames = sealed(key, name, data)
        with translated():
            if self._folder is not None:
                put_file(self._folder, name, frames)
            elif self._direct:
                obstore.put(self._backend, name, b"".join(frames), use_multipart=False)
            else:
                await obstore.put_async(self._backend, name, b"".join(frames), use_multipart=False)
        return Content(hashlib.sha256(data).digest(), len(data), made, wrapped)

    async def write(
        self, chunks: AsyncGenerator[bytes, None], *, large: asyncio.Semaphore | None = None
    ) -> Content:
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

    async def _write_large(self, pending: bytearray, chunks: AsyncIterator[bytes]) -> Content:
        made, name, key, wrapped = self._new()
        sealer = Sealer(key, name)
        if self._folder is None:
            file: FolderFile | Upload = Upload(self._backend, name, sealer)
        else:
            file = await FolderFile.create(self._folder / name, sealer)
        try:
            async for chunk in chunks:
                pending += chunk
                if len(pending) >= _HAND_OVER:
                    await file.send(bytes(pending))
                    pending.clear()
            await file.send(bytes(pending))
            stored = await file.finish()
        except BaseException:
            await file.abandon()
            raise
        return Content(stored.sha256, stored.size, made, wrapped)

    def _new(self) -> tuple[UUID, str, DataKey, bytes]:
        made = uuid4()
        name = name_of(made)
        key, wrapped = self._keys.make(name)
        return made, name, key, wrapped

    async def reach(self) -> None:
        """Ask the store something.

        Raises
        ------
        ObjectStoreError
            It does not answer, or its folder is not there, as where a disk is not mounted.
        """
        if self._folder is not None and not await asyncio.to_thread(self._folder.is_dir):
            raise ObjectStoreError("the folder is not there")
        with suppress(MissingObjectError), translated():
            await obstore.head_async(self._backend, plain_name(bytes(32)))

    async def read(self, content: Content, start: int = 0, end: int | None = None) -> AsyncIterator[Buffer]:
        """Yield the content's bytes from `start` up to before `end` (its own end if None).

        Raises
        ------
        MissingObjectError
            There is no such content, or its data key is destroyed.
        ForgedObjectError
            The object is not what was written. All that was given before was.
        ObjectStoreError
            The store failed, or the data key cannot be unwrapped.
        ValueError
            `start` is negative or lies after `end`.
        """
        stop = content.size if end is None else end
        if not 0 <= start <= stop:
            raise ValueError("no such range")
        if content.object is None:
            pieces = read_plain(self._backend, plain_name(content.sha256), start, stop)
        elif content.data_key is None:
            raise MissingObjectError("no such content")
        else:
            name = name_of(content.object)
            wanted = SealedObject(name, content.size, self._keys.unwrap(content.data_key, name))
            pieces = read(self._backend, wanted, start, stop)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def remove(self, name: str) -> None:
        """Remove an object; that it is not there is no error."""
        with suppress(MissingObjectError), translated():
            await obstore.delete_async(self._backend, name)

    async def listed(self, shard: int) -> AsyncIterator[list[tuple[str, datetime]]]:
        """Yield batches of (name, time of storing), of objects whose names begin with the byte `shard`."""
        for root in (_CONTENTS, _PLAIN):
            place = f"{root}/{shard:02x}"
            if self._folder is not None:
                # The backend would hide what is unfinished.
                found = await asyncio.to_thread(files_in, self._folder, place)
                for at in range(0, len(found), _BATCH):
                    yield found[at : at + _BATCH]
                continue
            with translated():
                async for batch in obstore.list(self._backend, place, chunk_size=_BATCH):
                    yield [(meta["path"], meta["last_modified"]) for meta in batch]

    async def sweep_staging(self, before: datetime) -> int:
        """Remove what versions that did not encrypt left unfinished before that time; give how many.

        Parts of uploads that a killed process had begun in a cloud are invisible here: the bucket needs its
        usual lifecycle rule for incomplete multipart uploads.
        """
        if self._folder is not None:
            return await asyncio.to_thread(sweep, self._folder / _STAGING, before)
        old: list[str] = []
        with translated():
            async for batch in obstore.list(self._backend, _STAGING):
                old += [meta["path"] for meta in batch if meta["last_modified"] < before]
            if old:
                await obstore.delete_async(self._backend, old)
        return len(old)


def name_of(content: UUID) -> str:
    """Give the name of an object."""
    return f"{_CONTENTS}/{content.hex[:2]}/{content.hex[2:]}"


def plain_name(sha256: bytes) -> str:
    """Give the name of a content from before contents were encrypted."""
    digits = sha256.hex()
    return f"{_PLAIN}/{digits[:2]}/{digits[2:]}"
