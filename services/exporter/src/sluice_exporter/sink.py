"""Writing the files of one part: streamed while they are produced, ended and begun at the limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sluice_contracts.exports import FileKind
from sluice_exporter.plan import SealedFile
from sluice_storage.encryption.keys import DataKey
from sluice_storage.exports.objects import Stored, WritableFile, key_of


@dataclass(frozen=True, slots=True)
class FileLimits:
    """A file is ended before what would take it over `resources` lines or `size` bytes."""

    resources: int
    size: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Some lines of a file.

    Parameters
    ----------
    data
        The lines, each with its end.
    count
        How many.
    block
        The line that opens the block they are part of, if files hold blocks: repeated where a block goes on
        in another file (Bulk Data Access 3.0.0, "Bulk Data Output File Organization").
    """

    data: bytes
    count: int
    block: bytes | None = None


class Objects(Protocol):
    """Where files go; see `sluice_storage.exports.objects.ExportObjects`."""

    async def create(self, key: str, data_key: DataKey) -> WritableFile:
        """Begin a file, encrypted under that data key."""

    async def keys(self, job: str, part: int | None = None) -> list[str]:
        """Give the names of all files of a part."""

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove files."""


class Sink:
    """The files of one attempt at a part.

    Parameters
    ----------
    objects
        Where they go.
    data_key
        Encrypts them.
    job, part
        What they are files of.
    attempt
        A name that no other attempt has.
    kind, type_
        What they hold.
    limits
        When a file is ended. A block is not split before it has filled a file of its own.
    prefix
        What the names of its files begin with, to tell them from another sink's of the same attempt.
    """

    def __init__(
        self,
        objects: Objects,
        data_key: DataKey,
        job: str,
        part: int,
        attempt: str,
        *,
        kind: FileKind,
        type_: str | None,
        limits: FileLimits,
        prefix: str = "",
    ) -> None:
        self._objects = objects
        self._data_key = data_key
        self._name: Callable[[int], str] = lambda n: key_of(job, part, n, prefix + attempt)
        self._kind = kind
        self._type = type_
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._file: WritableFile | None = None
        self._count = self._size = 0
        self._block: bytes | None = None
        self._block_alone = False
        self._sealed: list[SealedFile] = []

    async def write(self, piece: Piece) -> None:
        """Add lines to the file, or to a new one."""
        goes_on = piece.block is not None and piece.block == self._block
        if self._file is not None and self._full(piece) and (not goes_on or self._block_alone):
            await self._end(continues=goes_on)
        elif self._file is not None and not goes_on:
            self._block_alone = False
        buffers, count = [piece.data], piece.count
        if self._file is None:
            self._file = await self._objects.create(self._name(len(self._sealed)), self._data_key)
            goes_on = False
            self._block_alone = True
        if piece.block is not None and not goes_on:
            buffers, count = [piece.block, *buffers], count + 1
        self._block = piece.block
        await self._file.send(*buffers)
        self._count += count
        self._size += sum(map(len, buffers))

    def write_here(self, piece: Piece) -> None:
        """Do the same in the thread that calls, which is not the event loop's; the loop writes nothing then.

        A piece that goes to another thread for each step costs as much again in waiting for each other.
        """
        if self._file is None or piece.block is not None or self._full(piece):
            asyncio.run_coroutine_threadsafe(self.write(piece), self._loop).result()
            return
        self._file.send_here(piece.data)
        self._count += piece.count
        self._size += len(piece.data)

    def _full(self, piece: Piece) -> bool:
        return (
            self._count + piece.count > self._limits.resources
            or self._size + len(piece.data) > self._limits.size
        )

    async def finish(self) -> list[SealedFile]:
        """End the last file and give all of them; an attempt that wrote nothing has none."""
        if self._file is not None:
            await self._end(continues=False)
        return self._sealed

    async def abandon(self) -> None:
        """Remove what was written."""
        if self._file is not None:
            await self._file.abandon()
            self._file = None
        await self._objects.remove([file.key for file in self._sealed])
        self._sealed = []

    async def _end(self, *, continues: bool) -> None:
        if self._file is None:
            raise RuntimeError("there is no file to end")
        stored: Stored = await self._file.finish()
        self._sealed.append(
            SealedFile(
                kind=self._kind,
                type=self._type,
                key=self._name(len(self._sealed)),
                count=self._count,
                size=stored.size,
                sha256=stored.sha256,
                continues=continues,
            )
        )
        self._file = None
        self._count = self._size = 0
