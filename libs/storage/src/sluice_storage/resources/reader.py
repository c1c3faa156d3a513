"""Reading what an export asks for, as NDJSON, without parsing it and without holding it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from contextlib import aclosing

import asyncpg

from sluice_storage.resources.copy_stream import Fields, number, text
from sluice_storage.resources.copy_threads import Copies
from sluice_storage.resources.model import Chunk, Deleted, Part, PatientChunk, Window
from sluice_storage.resources.tables import IN_A_COMPARTMENT, existing, table_of, visible

# What Postgres joins to one value: small enough to stay in the processor's caches on its way.
_VALUE_BYTES = 128 * 1024
_MOST_BYTES = 8 * 1024 * 1024
_MOST_ROWS = 2048
_PAGE = 5000
_HOURS = 6 * 3600.0
_END = b"\n"


class Reader:
    """Reads parts that a `sluice_storage.resources.planner.Planner` has made.

    Every generator keeps a connection while it runs: close it when it is left early
    (`contextlib.aclosing`). Whoever reads slowly slows Postgres down; nothing piles up. A part that is read
    again gives the same lines in the same order.

    Parameters
    ----------
    pool
        Connections of a role that may read the schema `fhir`.
    copies
        More of these, for what is read in bulk.
    timeout
        Seconds that reading one part may take.
    """

    def __init__(self, pool: asyncpg.Pool, copies: Copies, *, timeout: float = _HOURS) -> None:
        self._pool = pool
        self._copies = copies
        self._timeout = timeout

    async def chunks(self, part: Part, window: Window) -> AsyncGenerator[Chunk]:
        """Give the part's resources in chunks of about half a megabyte (or one resource that is longer)."""
        query, arguments = _statement(part, window)
        async with aclosing(self._copies.copy(query, *arguments, timeout=self._timeout)) as stream:
            async for found in stream:
                yield _chunk(found)

    def worked(self, part: Part, window: Window, work: Callable[[Chunk], None]) -> AsyncGenerator[None]:
        """Have the thread that reads the chunks work with them; gives None now and then."""
        query, arguments = _statement(part, window)
        return self._copies.worked(
            lambda found: work(_chunk(found)), query, *arguments, timeout=self._timeout
        )

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
            SELECT p.patient, c.type, c.lines, c.count FROM unnest(%s::text[]) AS p (patient)
            CROSS JOIN LATERAL ({branches}) AS c (type, lines, count)
        """  # noqa: S608
        wanted = list(dict.fromkeys(patients))
        async with aclosing(self._copies.copy(query, wanted, timeout=self._timeout)) as stream:
            async for found in stream:
                for patient, type_, lines, count in found:
                    yield PatientChunk(text(patient), text(type_), ended(lines), number(count))


def _chunk(found: Iterable[Fields]) -> Chunk:
    """Join tuples of lines and how many they are."""
    pieces: list[bytes | memoryview] = []
    total = 0
    for lines, count in found:
        if lines is not None:
            pieces += (lines, _END)
            total += number(count)
    return Chunk(b"".join(pieces), total)


def ended(lines: memoryview | None) -> bytes:
    """Give lines with the end of the last one."""
    return b"".join((lines or b"", _END))


def _statement(part: Part, window: Window) -> tuple[str, tuple[object, ...]]:
    if part.shared:
        return _shared(part, window)
    return _by_patients(part, window) if part.patients else _by_ranges(part, window)


def _by_ranges(part: Part, window: Window) -> tuple[str, tuple[object, ...]]:
    average = max(part.bytes // max(part.rows, 1), 1)
    step = max(1, min(_MOST_ROWS, _VALUE_BYTES // average + 1, _MOST_BYTES // max(part.largest, 1)))
    condition = visible(window, times=False)
    if part.compartment:
        condition += f" AND {IN_A_COMPARTMENT}"
    query = f"""
        SELECT c.lines, c.count FROM unnest(%s::bigint[], %s::bigint[]) AS p (first, last)
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
        SELECT c.lines, c.count FROM unnest(%s::text[]) AS p (patient)
        CROSS JOIN LATERAL ({pieces(part.type, f"r.patient = p.patient AND {visible(window)}")}) AS c
    """  # noqa: S608
    return query, (list(part.patients),)


def _shared(part: Part, window: Window) -> tuple[str, tuple[object, ...]]:
    condition = _shared_with(part.type, "s.patient = ANY(%s::text[])", window)
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
