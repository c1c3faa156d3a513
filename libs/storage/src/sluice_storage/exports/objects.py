"""A job's files in the object store: below `exports/<job>/`, and nowhere else.

They are apart from the contents of imported files: nobody else refers to them, and what is left of a job can
be found by its id alone. A file has its name before it is written, and no two attempts at one share a name;
it counts once a row in Postgres says so. What a killed process left half written is below the same prefix and
goes with the job. In a cloud the parts of an upload that was never finished are invisible: the bucket needs
its usual lifecycle rule for those.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Iterable, Sequence
from io import FileIO
from pathlib import Path
from typing import Protocol

import obstore
from obstore.store import ObjectStore as Backend

from sluice_storage.objects_address import open_backend
from sluice_storage.objects_upload import MissingObjectError, ObjectStoreError, Stored, Upload, translated

__all__ = ["ExportObjects", "MissingObjectError", "ObjectStoreError", "Stored", "WritableFile", "key_of"]

_ROOT = "exports"
_WINDOW = 2 * 1024 * 1024
_READ = 512 * 1024
# How many buffers a system call takes, at the least.
_VECTORS = 1024

Buffer = bytes | memoryview
"""Some bytes."""


class WritableFile(Protocol):
    """A file on its way into the store."""

    async def send(self, *buffers: Buffer) -> None:
        """Add what these hold, one behind the other; waits while the store is behind."""

    async def finish(self) -> Stored:
        """End the file: it is there, whole."""

    async def abandon(self) -> None:
        """Drop the file and what the store has of it."""


class ExportObjects:
    """Files of exports, over one obstore backend.

    Parameters
    ----------
    backend
        Where objects are.
    folder
        The folder, when it is one: chunks are then written to it directly.
    """

    def __init__(self, backend: Backend, *, folder: Path | None = None) -> None:
        self._backend = backend
        self._folder = folder

    @classmethod
    def from_url(cls, url: str) -> ExportObjects:
        """Open the store that `url` names: `file:///folder`, `s3://bucket/prefix`, `memory:`."""
        backend, folder = open_backend(url)
        return cls(backend, folder=folder)

    async def create(self, key: str) -> WritableFile:
        """Begin a file; the name must be a new one.

        Raises
        ------
        ObjectStoreError
            The store failed; so may every method of the file.
        """
        if self._folder is None:
            return _Uploaded(self._backend, key)
        with translated():
            return _FolderFile(await asyncio.to_thread(_open_new, self._folder / key))

    def path(self, key: str) -> Path | None:
        """Give where the file is in the file system, if the store is a folder."""
        return None if self._folder is None else self._folder / key

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes]:
        """Yield the file's bytes from `start` up to before `end`, a bounded piece at a time.

        Raises
        ------
        MissingObjectError
            It is not there.
        ObjectStoreError
            The store failed.
        """
        for at in range(start, end, _WINDOW):
            # A request of its own for each: a cloud's request ends after 30 s, however slow the reader is.
            with translated():
                window = await obstore.get_range_async(
                    self._backend, key, start=at, end=min(at + _WINDOW, end)
                )
            view = memoryview(window)
            for place in range(0, len(view), _READ):
                yield bytes(view[place : place + _READ])

    async def keys(self, job: str, part: int | None = None) -> list[str]:
        """Give the names of all files of the job, or of one part of it, finished or not."""
        prefix = f"{_ROOT}/{job}" if part is None else f"{_ROOT}/{job}/{part}"
        found: list[str] = []
        with translated():
            async for batch in obstore.list(self._backend, prefix, chunk_size=500):
                found += [meta["path"] for meta in batch]
        return found

    async def remove(self, keys: Iterable[str]) -> None:
        """Remove files; that one is not there is no error."""
        for key in keys:
            try:
                with translated():
                    await obstore.delete_async(self._backend, key)
            except MissingObjectError:
                continue

    async def remove_job(self, job: str) -> int:
        """Remove every file of the job, finished or not; give how many there were."""
        keys = await self.keys(job)
        await self.remove(keys)
        if self._folder is not None:
            await asyncio.to_thread(_remove_folders, self._folder / _ROOT / job)
        return len(keys)


class _Uploaded(Upload):
    """A file in a cloud."""

    async def send(self, *buffers: Buffer) -> None:
        await super().send(
            buffers[0] if len(buffers) == 1 and isinstance(buffers[0], bytes) else b"".join(buffers)
        )


class _FolderFile:
    """A file in a folder. One hop to a thread for all that is sent at once, written and hashed there."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._size = 0

    async def send(self, *buffers: Buffer) -> None:
        with translated():
            await asyncio.to_thread(self._write, buffers)

    def _write(self, buffers: Sequence[Buffer]) -> None:
        for at in range(0, len(buffers), _VECTORS):
            self._write_some(buffers[at : at + _VECTORS])
        for buffer in buffers:
            self._digest.update(buffer)

    def _write_some(self, buffers: Sequence[Buffer]) -> None:
        size = sum(map(len, buffers))
        written = os.writev(self._file.fileno(), buffers)
        if written < size:
            # A disk that is nearly full takes a part, and says with the rest that it is full.
            rest = memoryview(b"".join(buffers))[written:]
            while rest:
                rest = rest[os.write(self._file.fileno(), rest) :]
        self._size += size

    async def finish(self) -> Stored:
        with translated():
            await asyncio.to_thread(self._file.close)
        return Stored(self._digest.digest(), self._size)

    async def abandon(self) -> None:
        with translated():
            await asyncio.to_thread(self._drop)

    def _drop(self) -> None:
        self._file.close()
        Path(str(self._file.name)).unlink(missing_ok=True)


def key_of(job: str, part: int, n: int, attempt: str) -> str:
    """Name the file `n` of a part, as one attempt at the part writes it."""
    return f"{_ROOT}/{job}/{part}/{n}.{attempt}.ndjson"


def _open_new(path: Path) -> FileIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb", buffering=0)


def _remove_folders(folder: Path) -> None:
    for each in sorted(folder.glob("*/"), reverse=True) if folder.is_dir() else ():
        _remove_empty(each)
    _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        # Gone already, or somebody writes there again; whoever sweeps next comes by.
        return
