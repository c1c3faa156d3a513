"""COPY … TO STDOUT in its binary format, as an asynchronous stream of tuples.

Postgres aggregates lines into chunks and sends them as they are, so that neither side
handles single resources: this is several times as fast as a cursor, and as COPY's text format, which escapes.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress

from sluice_storage.buffers import Buffer
from sluice_storage.resources.tables import Connection

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
"""A stream's first bytes: signature, no flags, no extension."""

_HELD = 2
"""How many pieces wait between Postgres and the reader."""

_int16 = struct.Struct("!h").unpack_from
_int32 = struct.Struct("!i").unpack_from
_int64 = struct.Struct("!q").unpack_from

Fields = list[memoryview | None]
"""A tuple's values as they were sent, None for NULL: views of the bytes that came, which are not copied."""


def number(field: memoryview | None) -> int:
    """Give the value of a bigint field, 0 for NULL."""
    return 0 if field is None else int(_int64(field)[0])


def text(field: memoryview | None) -> str:
    """Give the value of a text field, empty for NULL."""
    return "" if field is None else str(field, "utf-8")


class TupleParser:
    """Cuts the pieces of a binary COPY stream into tuples; a tuple may come in any number of pieces."""

    def __init__(self) -> None:
        self._pieces: list[Buffer] = []
        self._held = 0
        self._wanted = len(HEADER)
        self._begun = False

    def feed(self, piece: Buffer) -> Iterator[Fields]:
        """Give the tuples that `piece` completes."""
        self._pieces.append(piece)
        self._held += len(piece)
        # Joined only when what is next can be complete, so that a large value is not copied again and again.
        if self._held < self._wanted:
            return
        # A single piece, which most are, stays where it is.
        data = memoryview(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))
        place = 0
        if not self._begun:
            if data[: len(HEADER)] != HEADER:
                raise ValueError("not a binary COPY stream")
            place, self._begun = len(HEADER), True
        while True:
            fields, end = self._tuple(data, place)
            if fields is None:
                self._wanted = end - place
                break
            place = end
            yield fields
        rest = bytes(data[place:])
        # Postgres sends whole tuples, so most often there is none.
        self._pieces, self._held = [rest] if rest else [], len(rest)

    def _tuple(self, data: memoryview, start: int) -> tuple[Fields | None, int]:
        """Give the tuple at `start` and where it ends; None, and up to where it is needed, if it is cut."""
        place = start + 2
        if len(data) < place:
            return None, place
        fields: Fields = []
        # The trailer is a tuple of -1 fields: nothing comes after it.
        count = _int16(data, start)[0]
        if count < 0:
            return None, start + 3
        for _ in range(count):
            if len(data) < place + 4:
                return None, place + 4
            size = _int32(data, place)[0]
            place += 4
            if size < 0:
                fields.append(None)
                continue
            if len(data) < place + size:
                return None, place + size
            fields.append(data[place : place + size])
            place += size
        return fields, place


async def copy_out(
    connection: Connection,
    query: str,
    *arguments: object,
    timeout: float,
) -> AsyncGenerator[list[Fields]]:
    """Run the query and give its tuples, as many at a time as have come.

    Whoever reads slowly slows Postgres down: at most a few pieces wait in between.

    Parameters
    ----------
    timeout
        Seconds that the whole may take, waiting for the reader included.
    """
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_HELD)

    async def run() -> None:
        try:
            await connection.copy_from_query(
                query, *arguments, output=pieces.put, format="binary", timeout=timeout
            )
        finally:
            with suppress(asyncio.QueueFull):
                pieces.put_nowait(None)

    task = asyncio.create_task(run())
    parser = TupleParser()
    try:
        while True:
            piece = await _next(pieces, task)
            if piece is None:
                break
            if found := list(parser.feed(piece)):
                yield found
        await task
    finally:
        if not task.done():
            # Postgres, busy writing to us, may be deaf to a request to cancel for as long as a command may
            # take, and the pool would wait for it. A connection that is gone it notices with its next write.
            connection.terminate()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _next(pieces: asyncio.Queue[bytes | None], task: asyncio.Task[None]) -> bytes | None:
    # The end's mark finds no place if as much is waiting as may; then the task has ended with nothing left.
    return None if pieces.empty() and task.done() else await pieces.get()
