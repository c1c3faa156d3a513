"""One object on its way into a cloud."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

import obstore
from obstore.exceptions import BaseError as ObstoreError
from obstore.store import ObjectStore as Backend

from sluice_storage.buffers import Buffer

PART = 5 * 1024 * 1024
"""Bytes per part of a streamed upload: the least S3 allows; 10,000 of them are its most."""

PARTS_AT_ONCE = 2
"""Parts of one upload under way at once; with `PART` this is what a large content costs in memory."""


class ObjectStoreError(Exception):
    """The store did not do what it was asked; it may later. The text names no key."""


class MissingObjectError(ObjectStoreError):
    """The store has no such content."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A content that is in the store: its `sha256` (32 bytes) and `size` in bytes."""

    sha256: bytes
    size: int


class _AbandonedError(Exception):
    """Told to the backend in place of the next chunk, so that it drops what it has."""


class Seals(Protocol):
    """Encrypts an object while its content is produced; see `sluice_storage.encryption.framing.Sealer`."""

    def add(self, buffers: Sequence[Buffer]) -> list[bytes]:
        """Take some of the content and give what is to be written."""

    def end(self) -> list[bytes]:
        """Give what is left to be written."""


class Upload:
    """One streamed upload, hashed on the way; chunks are pushed, the backend pulls them.

    Parameters
    ----------
    backend
        Where the object goes.
    name
        Its name there.
    sealer
        Encrypts it; the hash and the size are those of what is encrypted.
    """

    def __init__(self, backend: Backend, name: str, sealer: Seals) -> None:
        self.key = name
        self._sealer = sealer
        self._backend = backend
        self._digest = hashlib.sha256()
        self._size = 0
        self._given_up = False
        self._loop = asyncio.get_running_loop()
        # One chunk in hand: whoever sends waits until the backend has taken the one before.
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._task = asyncio.create_task(self._run())

    async def send(self, *buffers: Buffer) -> None:
        """Add what these hold, one behind the other; waits while the backend is behind."""
        # Hashing leaves the loop to others meanwhile: it is most of the work of a large content.
        chunk = await asyncio.to_thread(self._take, buffers)
        if chunk:
            await self._hand_over(chunk)

    def send_here(self, *buffers: Buffer) -> None:
        """Do the same in the thread that calls, which is not the event loop's."""
        if chunk := self._take(buffers):
            asyncio.run_coroutine_threadsafe(self._hand_over(chunk), self._loop).result()

    def _take(self, buffers: Sequence[Buffer]) -> bytes:
        for buffer in buffers:
            self._digest.update(buffer)
            self._size += len(buffer)
        return b"".join(self._sealer.add(buffers))

    async def finish(self) -> Stored:
        """End the upload: the object is there, whole."""
        await self._hand_over(b"".join(self._sealer.end()))
        await self._hand_over(None)
        await self._task
        return Stored(self._digest.digest(), self._size)

    async def abandon(self) -> None:
        """Drop the upload and what the backend has of it."""
        self._given_up = True
        if not self._task.done():
            with suppress(asyncio.QueueFull):
                self._queue.put_nowait(None)
            await asyncio.wait([self._task], timeout=10)
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        with suppress(ObjectStoreError), translated():
            await obstore.delete_async(self._backend, self.key)

    async def _hand_over(self, chunk: bytes | None) -> None:
        try:
            self._queue.put_nowait(chunk)
        except asyncio.QueueFull:
            putting = asyncio.ensure_future(self._queue.put(chunk))
            try:
                await asyncio.wait([putting, self._task], return_when=asyncio.FIRST_COMPLETED)
            finally:
                putting.cancel()
        if self._task.done():
            # The backend gave up before it had everything: say why.
            await self._task

    async def _run(self) -> None:
        with translated():
            await obstore.put_async(
                self._backend,
                self.key,
                self._chunks(),
                use_multipart=True,
                chunk_size=PART,
                max_concurrency=PARTS_AT_ONCE,
            )

    async def _chunks(self) -> AsyncIterator[bytes]:
        while (chunk := await self._queue.get()) is not None:
            if self._given_up:
                break
            yield chunk
        if self._given_up:
            raise _AbandonedError


@contextmanager
def translated() -> Iterator[None]:
    """Turn the backend's errors into the store's, without the keys their texts hold."""
    try:
        yield
    except FileNotFoundError as error:
        raise MissingObjectError("no such content") from error
    except (ObstoreError, OSError) as error:
        raise ObjectStoreError(f"the object store failed: {type(error).__name__}") from error
