"""Loading NDJSON: cut, parsed and written in chunks of a few megabytes, one behind the other.

While Postgres writes one chunk the next is parsed, so both are busy; never more than a few chunks are held,
whatever the size of a file. Needs the package sluice-fhir (`sluice-storage[load]`).
"""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import asyncpg
from msgspec import Struct

from sluice_fhir.ndjson import MOST_BYTES, Line, Splitter
from sluice_fhir.ndjson_resource import LineError, LineProblem, Resource, parse
from sluice_fhir.references import local_mentions
from sluice_storage.resources.noting import Notes, Noting
from sluice_storage.resources.writer import Incoming, Key, Writer, Written

CHUNK_BYTES = 4 * 1024 * 1024
"""Bytes of lines that are written together."""

_CHUNK_ROWS = 4000
_AT_ONCE = 2
_READ_BYTES = 256 * 1024
_MOST_ISSUES = 10_000


class LineIssue(Struct, frozen=True, gc=False):
    """A line that was not loaded: where it is and why, and nothing of what it holds."""

    file: str
    line: int
    problem: LineProblem


class Outcome(Struct):
    """What became of the lines that were read: each of them is counted once more below.

    `stale` lines were older than what is there, or than another of the same resource; of `invalid` ones the
    first 10,000 are in `issues`. `types` counts those that are in the store now by their type. Of all of them
    `nameless` had no id, and got one that is made of their content.
    """

    read: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    stale: int = 0
    invalid: int = 0
    nameless: int = 0
    bytes: int = 0
    issues: list[LineIssue] = []
    types: dict[str, int] = {}

    def report(self, issue: LineIssue) -> None:
        """Count a line that was not loaded."""
        self.invalid += 1
        if len(self.issues) < _MOST_ISSUES:
            self.issues.append(issue)


class ResourceWriter(Protocol):
    """Takes what is loaded: the store, or a place aside."""

    async def write(self, resources: Iterable[Incoming]) -> Written:
        """Write resources."""

    async def delete(self, keys: Iterable[Key]) -> int:
        """Delete resources; give how many there were."""


class Loader:
    """Loads NDJSON into the store.

    Loading the same again changes nothing. When a load is broken off, the chunks that were written stay, and
    loading again completes them.

    Parameters
    ----------
    pool
        Connections of a role that owns the schema `fhir`; a loader uses up to two at a time.
    job, source
        What is noted with each batch: the job that brings it, the source it comes from.
    claims
        See `Writer`.
    base
        The address of the server the data come from: absolute references to it count as references to what
        is loaded.
    line_bytes
        How long a line may be.
    writer
        Takes what is loaded, if it is not to go to the store.
    noting
        Keeps what resources refer to and whose they are, if that is wanted.
    now
        Gives the time, if the server's clock is not to.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        job: str | None = None,
        source: str | None = None,
        claims: bool = False,
        base: str | None = None,
        line_bytes: int = MOST_BYTES,
        writer: ResourceWriter | None = None,
        noting: Noting | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._noting = noting
        self._writer = writer or Writer(pool, job=job, source=source, claims=claims, now=now)
        self._base = None if base is None else base.rstrip("/")
        self._mentions = local_mentions(self._base)
        self._line_bytes = line_bytes

    async def load(self, pieces: AsyncIterable[bytes], name: str, *, expect: str | None = None) -> Outcome:
        """Load one file.

        Parameters
        ----------
        pieces
            Its bytes, in pieces of any size.
        name
            What issues call it.
        expect
            The only type its resources may have, if they must have one.
        """
        outcome = Outcome()
        held: list[Resource] = []
        size = 0
        mentioned: set[bytes] = set()
        notes = Notes(self._noting)
        await notes.begin()
        async with _Pipeline(self._writer, outcome, notes) as pipeline:
            async for lines, length in _lines(pieces, self._line_bytes):
                held += self._parsed(lines, name, expect, outcome, mentioned)
                size += length
                while held and (size >= CHUNK_BYTES or len(held) >= _CHUNK_ROWS):
                    await pipeline.write(held[:_CHUNK_ROWS], mentioned)
                    held, size, mentioned = held[_CHUNK_ROWS:], 0, set()
            await pipeline.write(held, mentioned)
        await notes.keep()
        return outcome

    async def load_file(
        self, path: Path, *, expect: str | None = None, progress: Callable[[int], None] | None = None
    ) -> Outcome:
        """Load a file; one whose name ends with `.gz` is unpacked on the way.

        `progress` is told how many of the file's bytes, as they are on the disk, have been read.
        """
        return await self.load(_read(path, progress), path.name, expect=expect)

    async def delete(self, keys: Iterable[Key]) -> int:
        """Delete resources; give how many of them there were."""
        return await self._writer.delete(keys)

    def _parsed(
        self,
        lines: Sequence[Line],
        name: str,
        expect: str | None,
        outcome: Outcome,
        mentioned: set[bytes],
    ) -> list[Resource]:
        found: list[Resource] = []
        for line in lines:
            if line.text is None:
                outcome.report(LineIssue(name, line.number, LineProblem.TOO_LONG))
                continue
            try:
                found.append(parse(line.text, base=self._base, expect=expect))
                if self._noting is not None:
                    mentioned.update(self._mentions(line.text))
            except LineError as error:
                outcome.report(LineIssue(name, line.number, error.problem))
        outcome.read += len(lines)
        outcome.nameless += sum([resource.nameless for resource in found])
        outcome.bytes += sum([len(line.text) for line in lines if line.text is not None])
        for type_, count in Counter([resource.type for resource in found]).items():
            outcome.types[type_] = outcome.types.get(type_, 0) + count
        return found


class _Pipeline:
    """Writes chunks, two at once unless they share a resource: that is written in the order of the file."""

    def __init__(
        self,
        writer: ResourceWriter,
        outcome: Outcome,
        notes: Notes,
    ) -> None:
        self._writer = writer
        self._notes = notes
        self._outcome = outcome
        self._under_way: dict[asyncio.Task[None], set[Key]] = {}

    async def __aenter__(self) -> _Pipeline:
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if error is None:
                await self._room(0)
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def write(self, resources: list[Resource], mentioned: set[bytes]) -> None:
        """Begin to write a chunk, as soon as there is room; `mentioned` is what its resources refer to."""
        if not resources:
            return
        keys = {(resource.type, resource.id) for resource in resources}
        while not all(keys.isdisjoint(others) for others in self._under_way.values()):
            await self._room(len(self._under_way) - 1)
        await self._room(_AT_ONCE - 1)
        self._under_way[asyncio.create_task(self._write(resources, mentioned))] = keys
        # The first step of the task sends what it has to Postgres before the next chunk is parsed.
        await asyncio.sleep(0)

    async def _room(self, most: int) -> None:
        while len(self._under_way) > most:
            done, _ = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                del self._under_way[task]
            for task in done:
                task.result()

    async def _write(self, resources: list[Resource], mentioned: set[bytes]) -> None:
        written = await self._writer.write(resources)
        self._outcome.created += written.created
        self._outcome.updated += written.updated
        self._outcome.unchanged += written.unchanged
        self._outcome.stale += written.stale
        await self._notes.add(resources, mentioned, written)


async def _lines(pieces: AsyncIterable[bytes], line_bytes: int) -> AsyncGenerator[tuple[list[Line], int]]:
    """Give some lines at a time, and how many bytes they were read from."""
    splitter = Splitter(line_bytes)
    async for piece in pieces:
        # Small enough to be in the processor's cache until its lines are parsed.
        for place in range(0, len(piece), _READ_BYTES):
            part = piece[place : place + _READ_BYTES]
            yield splitter.feed(part), len(part)
    yield splitter.end(), 0


async def _read(path: Path, progress: Callable[[int], None] | None) -> AsyncGenerator[bytes]:
    raw = await asyncio.to_thread(path.open, "rb")
    try:
        handle = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw
        while piece := await asyncio.to_thread(handle.read, _READ_BYTES):
            yield piece
            if progress is not None:
                progress(raw.tell())
    finally:
        await asyncio.to_thread(raw.close)
