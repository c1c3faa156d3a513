"""Objects in a folder: written where they stay, under names that nothing else has."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from sluice_storage.buffers import Buffer
from sluice_storage.encryption.framing import Sealer
from sluice_storage.objects_upload import Stored, translated

# How many buffers a system call takes, at the least.
_VECTORS = 1024


class FolderFile:
    """An object in a folder. One hop to a thread for all that is sent at once: hashed, encrypted, written.

    Parameters
    ----------
    file
        The file, new and empty.
    sealer
        Encrypts it; the hash and the size are those of what is encrypted.
    """

    def __init__(self, file: FileIO, sealer: Sealer) -> None:
        self._file = file
        self._sealer = sealer
        self._digest = hashlib.sha256()
        self._size = 0

    @classmethod
    async def create(cls, path: Path, sealer: Sealer) -> FolderFile:
        """Begin a file where none is."""
        with translated():
            return cls(await asyncio.to_thread(_open_new, path), sealer)

    async def send(self, *buffers: Buffer) -> None:
        """Add what these hold, one behind the other."""
        await asyncio.to_thread(self.send_here, *buffers)

    def send_here(self, *buffers: Buffer) -> None:
        """Do the same in the thread that calls."""
        with translated():
            for buffer in buffers:
                self._digest.update(buffer)
                self._size += len(buffer)
            self._write(self._sealer.add(buffers))

    async def finish(self) -> Stored:
        """End the file: it is there, whole."""
        with translated():
            await asyncio.to_thread(self._end)
        return Stored(self._digest.digest(), self._size)

    async def abandon(self) -> None:
        """Drop the file."""
        with translated():
            await asyncio.to_thread(self._drop)

    def _end(self) -> None:
        self._write(self._sealer.end())
        self._file.close()

    def _write(self, frames: Sequence[bytes]) -> None:
        for at in range(0, len(frames), _VECTORS):
            write_all(self._file.fileno(), frames[at : at + _VECTORS])

    def _drop(self) -> None:
        self._file.close()
        Path(str(self._file.name)).unlink(missing_ok=True)


def write_all(file: int, buffers: Sequence[Buffer]) -> None:
    """Write all of up to 1,024 buffers."""
    written = os.writev(file, buffers)
    if written < sum(map(len, buffers)):
        # A disk that is nearly full takes a part, and says with the rest that it is full.
        rest = memoryview(b"".join(buffers))[written:]
        while rest:
            rest = rest[os.write(file, rest) :]


def put_file(folder: Path, name: str, frames: Sequence[bytes]) -> None:
    """Write a small object, which is in memory, at its place, where nothing is.

    Nothing is renamed, which would cost as much as the writing: until a row names it nobody looks for it.
    """
    path = f"{folder}/{name}"
    try:
        _write_file(path, frames)
    except FileNotFoundError:
        # The first object in this shard, or someone tidied up.
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _write_file(path, frames)


def files_in(folder: Path, place: str) -> list[tuple[str, datetime]]:
    """Give the names of all files in a place of the folder, and when they were last written."""
    found: list[tuple[str, datetime]] = []
    shard = folder / place
    for path in shard.iterdir() if shard.is_dir() else ():
        with suppress(FileNotFoundError):
            found.append((f"{place}/{path.name}", datetime.fromtimestamp(path.stat().st_mtime, UTC)))
    return found


def sweep(folder: Path, before: datetime) -> int:
    """Remove the files in a folder that were last written before that time; give how many."""
    swept = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before.timestamp():
                path.unlink()
                swept += 1
    return swept


def _write_file(path: str, frames: Sequence[bytes]) -> None:
    # Without `Path` and file objects, which together take longer than the writing.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        write_all(descriptor, frames)
    finally:
        os.close(descriptor)


def _open_new(path: Path) -> FileIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb", buffering=0)
