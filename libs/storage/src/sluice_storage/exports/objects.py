"""A job's files in the object store: below `exports/<job>/`, and nowhere else.

They are apart from the contents of imported files: nobody else refers to them, and what is left of a job can
be found by its id alone. A file has its name before it is written, and no two attempts at one share a name;
it counts once a row in Postgres says so. All of a job's files are encrypted under the job's data key. What a
killed process left half written is below the same prefix and goes with the job. In a cloud the parts of an
upload that was never finished are invisible: the bucket needs its usual lifecycle rule for those.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Protocol

import obstore
from obstore.store import ObjectStore as Backend

from sluice_storage.buffers import Buffer
from sluice_storage.encryption.framing import Sealer
from sluice_storage.encryption.keys import DataKey
from sluice_storage.encryption.opening import SealedObject, read
from sluice_storage.objects_address import open_backend
from sluice_storage.objects_folder import FolderFile
from sluice_storage.objects_plain import read_plain
from sluice_storage.objects_upload import MissingObjectError, ObjectStoreError, Stored, Upload, translated

__all__ = [
    "ExportObjects",
    "MissingObjectError",
    "ObjectStoreError",
    "Stored",
    "WritableFile",
    "key_of",
]

_ROOT = "exports"
_READ = 512 * 1024


class WritableFile(Protocol):
    """A file on its way into the store."""

    async def send(self, *buffers: Buffer) -> None:
        """Add what these hold, one behind the other; waits while the store is behind."""

    def send_here(self, *buffers: Buffer) -> None:
        """Do the same in the thread that calls, which is not the event loop's."""

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

    async def create(self, key: str, data_key: DataKey) -> WritableFile:
        """Begin a file, encrypted under its job's data key; the name must be a new one.

        Raises
        ------
        ObjectStoreError
            The store failed; so may every method of the file.
        """
        sealer = Sealer(data_key, key)
        if self._folder is None:
            return Upload(self._backend, key, sealer)
        return await FolderFile.create(self._folder / key, sealer)

    def path(self, key: str) -> Path | None:
        """Give where the file is in the file system, if the store is a folder."""
        return None if self._folder is None else self._folder / key

    def read(self, file: SealedObject, start: int, end: int) -> AsyncGenerator[Buffer]:
        """Yield the content's bytes from `start` up to before `end`, a bounded piece at a time.

        Raises
        ------
        MissingObjectError
            It is not there.
        ForgedObjectError
            It is not what was written. All that was given before was.
        ObjectStoreError
            The store failed.
        """
        return read(self._backend, file, start, end)

    async def read_plain(self, key: str, start: int, end: int) -> AsyncGenerator[Buffer]:
        """Yield bytes of a file from before files were encrypted; raises as `read`."""
        async for window in read_plain(self._backend, key, start, end):
            for place in range(0, len(window), _READ):
                yield window[place : place + _READ]

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


def data_key_name(job: str) -> str:
    """Name what a job's data key is for."""
    return f"{_ROOT}/{job}"


def key_of(job: str, part: int, n: int, attempt: str) -> str:
    """Name the file `n` of a part, as one attempt at the part writes it."""
    return f"{_ROOT}/{job}/{part}/{n}.{attempt}.ndjson"


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
