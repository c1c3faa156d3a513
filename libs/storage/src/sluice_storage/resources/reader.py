"""Reading what an export asks for, as NDJSON, without parsing it and without holding it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import aclosing
from typing import cast

import asyncpg

from sluice_storage.buffers import Buffer
from sluice_storage.resources.copy_stream import Fields, copy_out, number, text
from sluice_storage.resources.model import Chunk, Deleted, Part, PatientChunk, Window
from sluice_storage.resources.tables import IN_A_COMPARTMENT, existing, table_of, visible

CHUNK_BYTES = 1024 * 1024
"""Bytes that a chunk is made to have."""

# What Postgres joins to one value: small enough to stay in the processor's caches on its way.
_VALUE_BYTES = 128 * 1024
_MOST_BYTES = 8 * CHUNK_BYTES
_MOST_BUFFERS = 500
_MOST_ROWS = 2048
_PAGE = 5000
_HOURS = 6 * 3600.0
_END = b"\n"


class Reader:
    """Reads parts that a `sluice_storage.resources.planner.Planner` has made.

    Every generator keeps a connection of the pool while it runs: close it when it is left early
    (`contextlib.aclosing`). Whoever reads slowly slows Postgres down; nothing piles up. A part that is read
    again gives the same lines in the same order.

    Parameters
    ----------
    pool
        Connections of a role that may read the schema `fhir`.
    timeout
        Seconds that reading one part may take.
    """

    def __init__(self, pool: asyncpg.Pool, *, timeout: float = _HOURS) -> None:
        self._pool = pool
        self._timeout = timeout

    async def chunks(self, part: Part, window: Window) -> AsyncGenerator[Chunk]:
        """Give the part's resources in chunks of about a megabyte (or one resource, if that is longer)."""
        if part.shared:
            query, arguments = _shared(part, window)
        elif part.patients:
            query, arguments = _by_patients(part, window)
        else:
            query, arguments = _by_ranges(part, window)
        held = _Held()
        async with aclosing(self._copy(query, *arguments)) as stream:
            async for found in stream:
                held.take(found)
                if held.size >= CHUNK_BYTES or len(held.buffers) >= _MOST_BUFFERS:
                    yield held.chunk()
                    held = _Held()
        if held.count:
            yield held.chunk()

    async def lines(self, part: Part, window: Window) -> AsyncGenerator[list[bytes]]:
        """Give the part's resources one by one, without line ends, some at a time."""
        async with aclosing(self.chunks(part, window)) as stream:
            async for chunk in stream:
                # A line's JSON holds no line end: in strings they are escaped, elsewhere there are none.
                yield chunk.data[:-1].split(_END)

    async def deleted(self, part: Part, window: Window) -> AsyncGenerator[list[Deleted]]:
        """Give what was deleted, some at a time."""
        conditions = [visible(window, deleted=True)]
        arguments: list[object] = []
        if part.compartment:
            conditions.append(IN_A_COMPARTMENT)
        if part.patients:
            conditions.append(
                """
                (r.patient = ANY($3::text[]) OR (r.shared AND EXISTS (SELECT FROM fhir.shared s
                    WHERE s.type = r.type AND s.seq = r.seq AND s.patient = ANY($3::text[]))))
                """
            )
            arguments.append(list(part.patients))
        query = f"""
            SELECT r.seq, r.id, r.updated FROM {table_of(part.type)} r
            WHERE r.seq BETWEEN $1 AND $2 AND {" AND ".join(conditions)} ORDER BY r.seq LIMIT {_PAGE}
        """  # noqa: S608
        for first, last in part.ranges:
            place = first
            while rows := await self._pool.fetch(query, place, last, *arguments):
                yield [Deleted(part.type, row["id"], row["updated"]) for row in rows]
                place = rows[-1]["seq"] + 1

    async def by_patient(
        self,
        types: Sequence[str],
        patients: Sequence[str],
        window: Window,
        *,
        at_any_time: Collection[str] = (),
    ) -> AsyncGenerator[PatientChunk]:
        """Give the resources of these patients' compartments, all of one patient together, in this order.

        What is in the compartments of several of them comes with each. Of the types `at_any_time` all comes
        that is in the window's snapshot.
        """
        present = await existing(self._pool, types)
        if not present or not patients:
            return
        branches = " UNION ALL ".join(
            f"(SELECT '{type_}', c.lines, c.count FROM ({pieces(type_, condition)}) AS c)"  # noqa: S608
            for type_ in present
            for span in [Window(window.snapshot) if type_ in at_any_time else window]
            for condition in (
                f"r.patient = p.patient AND {visible(span)}",
                _shared_with(type_, "s.patient = p.patient", span),
            )
        )
        query = f"""
            SELECT p.patient, c.type, c.lines, c.count FROM unnest($1::text[]) AS p (patient)
            CROSS JOIN LATERAL ({branches}) AS c (type, lines, count)
        """  # noqa: S608
        async with aclosing(self._copy(query, list(dict.fromkeys(patients)))) as stream:
            async for found in stream:
                for patient, type_, lines, count in found:
                    yield PatientChunk(text(patient), text(type_), ended(lines), number(count))

    async def _copy(self, query: str, *arguments: object) -> AsyncGenerator[list[Fields]]:
        async with (
            self._pool.acquire() as connection,
            aclosing(copy_out(connection, query, *arguments, timeout=self._timeout)) as stream,
        ):
            async for found in stream:
                yield found


class _Held:
    """What is gathered for a chunk."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        self.sources: list[bytes] = []
        self.count = self.size = 0

    def take(self, found: Iterable[Fields]) -> None:
        """Add tuples of lines and how many they are."""
        for lines, count in found:
            if lines is None:
                continue
            source = cast("bytes", lines.obj)
            if not self.sources or self.sources[-1] is not source:
                self.sources.append(source)
            self.buffers += (lines, _END)
            self.count += number(count)
            self.size += len(lines) + 1

    def chunk(self) -> Chunk:
        return Chunk(tuple(self.buffers), self.count, self.size, tuple(self.sources))


def ended(lines: memoryview | None) -> bytes:
    """Give lines with the end of the last one."""
    return b"".join((lines or b"", _END))


def _by_ranges(part: Part, window: Window) -> tuple[str, tuple[object, ...]]:
    average = max(part.bytes // max(part.rows, 1), 1)
    step = max(1, min(_MOST_ROWS, _VALUE_BYTES // average + 1, _MOST_BYTES // max(part.largest, 1)))
    condition = visible(window, times=False)
    if part.compartment:
        condition += f" AND {IN_A_COMPARTMENT}"
    query = f"""
        SELECT c.lines, c.count FROM unnest($1::bigint[], $2::bigint[]) AS p (first, last)
        CROSS JOIN LATERAL generate_series(p.first, p.last, {step}) AS s (first)
        CROSS JOIN LATERAL (
            SELECT string_agg(r.body, '\\x0a'::bytea ORDER BY r.seq) AS lines, count(*) AS count
            FROM {table_of(part.type)} r
            WHERE r.seq >= s.first AND r.seq <= least(s.first + {step - 1}, p.last) AND {condition}
        ) AS c WHERE c.count > 0
    """  # noqa: S608
    firsts, lasts = zip(*part.ranges, strict=True) if part.ranges else ((), ())
    return query, (list(firsts), list(lasts))


def _by_patients(part: Part, window: Window) -> tuple[str, tuple[object, ...]]:
    query = f"""
        SELECT c.lines, c.count FROM unnest($1::text[]) AS p (patient)
        CROSS JOIN LATERAL ({pieces(part.type, f"r.patient = p.patient AND {visible(window)}")}) AS c
    """  # noqa: S608
    return query, (list(part.patients),)


def _shared(part: Part, window: Window) -> tuple[str, tuple[object, ...]]:
    condition = _shared_with(part.type, "s.patient = ANY($1::text[])", window)
    query = f"SELECT c.lines, c.count FROM ({pieces(part.type, condition)}) AS c"  # noqa: S608
    return query, (list(part.patients),)


def _shared_with(type_: str, patients: str, window: Window) -> str:
    """Give the condition to be in several compartments, one of them of a patient with the condition."""
    seqs = f"SELECT s.seq FROM fhir.shared s WHERE s.type = '{type_}' AND {patients}"  # noqa: S608
    return f"{visible(window)} AND r.seq IN ({seqs})"


def pieces(type_: str, condition: str) -> str:
    """Give a query for the rows with `condition`, aggregated to values of some hundred kilobytes."""
    return f"""
        SELECT string_agg(i.body, '\\x0a'::bytea ORDER BY i.seq) AS lines, count(*) AS count
        FROM (
            SELECT r.body, r.seq, (sum(r.size) OVER (ORDER BY r.seq) - r.size) / {_VALUE_BYTES} AS piece
            FROM {table_of(type_)} r WHERE {condition}
        ) AS i GROUP BY i.piece ORDER BY i.piece
    """  # noqa: S608
