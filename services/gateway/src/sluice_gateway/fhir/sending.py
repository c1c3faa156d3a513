"""Sending a file's bytes: from the object store piece by piece, or, where that is a folder, from its files.

From a folder a thread reads, decrypts and sends for as long as the connection takes bytes, and waits on the
event loop when it does not. What was decrypted and not taken is decrypted again after that: a slow client
costs a waiting callback, and no thread and no memory. A file from before files were encrypted is copied by
the kernel (sendfile).
"""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

from aiohttp import web

from sluice_storage.buffers import Buffer
from sluice_storage.encryption.opening import SealedFile, SealedObject

_IDLE_SECONDS = 120.0
_DRAIN_SECONDS = 0.005
_PIECE = 1024 * 1024
_LEVEL = 1
# A turn of a thread ends after this much, so that those who wait for a thread come to theirs.
_TURN = 64 * _PIECE


class ExportFiles(Protocol):
    """Where files are; see `sluice_storage.exports.objects.ExportObjects`."""

    def path(self, key: str) -> Path | None:
        """Give where the file is in the file system, if it is there."""

    def read(self, file: SealedObject, start: int, end: int) -> AsyncGenerator[Buffer]:
        """Yield the content's bytes, a bounded piece at a time."""

    def read_plain(self, key: str, start: int, end: int) -> AsyncGenerator[Buffer]:
        """Yield bytes of a file from before files were encrypted."""


class OpenFile(Protocol):
    """A file in a folder, for threads."""

    def send(self, connection: int, start: int, end: int) -> int:
        """Send until the connection takes no more, or a turn is over; give how far that was.

        Raises
        ------
        ConnectionAbortedError
            The file is not what it was.
        ForgedObjectError
            So it is, and it was encrypted.
        """

    def read(self, start: int, end: int) -> bytes:
        """Give some bytes from `start`, not beyond `end`; at least one. Raises as `send`."""


class PlainFile:
    """A file from before files were encrypted; `file` is its descriptor."""

    def __init__(self, file: int) -> None:
        self._file = file

    def send(self, connection: int, start: int, end: int) -> int:
        """See `OpenFile.send`."""
        stop = min(end, start + _TURN)
        while start < stop:
            try:
                sent = os.sendfile(connection, self._file, start, stop - start)
            except BlockingIOError:
                break
            start += _some(sent)
        return start

    def read(self, start: int, end: int) -> bytes:
        """See `OpenFile.read`."""
        piece = os.pread(self._file, min(_PIECE, end - start), start)
        _some(len(piece))
        return piece


class EncryptedFile:
    """An encrypted file."""

    def __init__(self, file: SealedFile) -> None:
        self._file = file

    def send(self, connection: int, start: int, end: int) -> int:
        """See `OpenFile.send`."""
        stop = min(end, start + _TURN)
        while start < stop:
            piece = self._file.read(start, stop)
            try:
                while piece:
                    sent = os.write(connection, piece)
                    start += sent
                    piece = piece[sent:]
            except BlockingIOError:
                break
        return start

    def read(self, start: int, end: int) -> bytes:
        """See `OpenFile.read`."""
        return bytes(self._file.read(start, end))


class StalledError(ConnectionError):
    """The client took no byte for too long."""


async def send(
    request: web.Request, response: web.StreamResponse, file: OpenFile, start: int, end: int
) -> None:
    """Send bytes of an open file, past the event loop if the connection allows that.

    `response` is prepared with the right length, and ended here.

    Raises
    ------
    ConnectionError
        The client went, or stalled; or the file is shorter than it was.
    ForgedObjectError
        The file is not what was written.
    """
    transport = request.transport
    socket = None if transport is None else transport.get_extra_info("socket")
    encrypted = transport is None or transport.get_extra_info("sslcontext") is not None
    if transport is None or socket is None or encrypted:
        await _send_pieces(response, file, start, end)
        return
    await _flushed(transport)
    # A number of its own: if the connection is closed meanwhile, its old one may be given to another.
    connection = os.dup(socket.fileno())
    try:
        while start < end:
            if transport.is_closing():
                raise ConnectionResetError("the client went")
            start = await asyncio.to_thread(file.send, connection, start, end)
            if start < end:
                await _writable(connection)
    finally:
        os.close(connection)
    await response.write_eof()


async def send_stored(response: web.StreamResponse, pieces: AsyncGenerator[Buffer]) -> None:
    """Send pieces of a file as they come; `response` is prepared, and ended here.

    Raises
    ------
    ConnectionError
        The client went, or stalled.
    """
    async with aclosing(pieces):
        async for piece in pieces:
            await written(response, piece)
    await response.write_eof()


async def beginning(first: Buffer, pieces: AsyncGenerator[Buffer]) -> AsyncGenerator[Buffer]:
    """Give `first`, then the pieces."""
    async with aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece


async def whole(pieces: AsyncGenerator[Buffer], length: int) -> AsyncGenerator[Buffer]:
    """Give the pieces on, and make sure that they are as long as was promised.

    Raises
    ------
    ConnectionAbortedError
        They ended early: the answer must not end as if it were whole.
    """
    async with aclosing(pieces):
        async for piece in pieces:
            length -= len(piece)
            yield piece
    if length:
        raise ConnectionAbortedError("the file is shorter than it was")


async def compressed(pieces: AsyncGenerator[Buffer]) -> AsyncGenerator[Buffer]:
    """Compress pieces to one gzip stream (RFC 1952), in a thread: zlib leaves the interpreter to others.

    At its fastest: FHIR's NDJSON repeats itself so much that more effort gains little.
    """
    packer = zlib.compressobj(_LEVEL, wbits=zlib.MAX_WBITS | 16)
    async with aclosing(pieces):
        async for piece in pieces:
            if packed := await asyncio.to_thread(packer.compress, piece):
                yield packed
    yield packer.flush()


async def _send_pieces(response: web.StreamResponse, file: OpenFile, start: int, end: int) -> None:
    while start < end:
        piece = await asyncio.to_thread(file.read, start, end)
        start += len(piece)
        await written(response, piece)
    await response.write_eof()


async def written(response: web.StreamResponse, piece: Buffer) -> None:
    """Send a piece of an answer whose head is sent.

    Raises
    ------
    ConnectionError
        The client went, or stalled.
    """
    try:
        async with asyncio.timeout(_IDLE_SECONDS):
            await response.write(piece)
    except TimeoutError:
        raise StalledError from None


def _some(count: int) -> int:
    if not count:
        raise ConnectionAbortedError("the file is shorter than it was")
    return count


async def _flushed(transport: asyncio.Transport) -> None:
    """Wait until what was written through the transport, the head of the answer, has left it."""
    try:
        async with asyncio.timeout(_IDLE_SECONDS):
            while transport.get_write_buffer_size():  # noqa: ASYNC110 - it tells nobody when it is empty
                await asyncio.sleep(_DRAIN_SECONDS)
    except TimeoutError:
        raise StalledError from None


async def _writable(connection: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(connection, _resolve, ready)
    try:
        async with asyncio.timeout(_IDLE_SECONDS):
            await ready
    except TimeoutError:
        raise StalledError from None
    finally:
        loop.remove_writer(connection)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
