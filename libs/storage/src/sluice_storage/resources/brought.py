"""Reading what a job brought: patient by patient, what is about nobody in particular, and single resources.

A job's resources are those in its batches, and those that were there as it brought them. Given is what is so
still: what somebody else has replaced or deleted since is not the job's any more.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing

import asyncpg
from msgspec import Struct

from sluice_storage.resources.copy_stream import copy_out, number, text
from sluice_storage.resources.model import PatientChunk, Range
from sluice_storage.resources.reader import ended, pieces
from sluice_storage.resources.tables import table_of
from sluice_storage.resources.writer import Key

_HOUR = 3600.0
_IDS_AT_ONCE = 500
_CURRENT = "r.superseded_by IS NULL AND NOT r.deleted"
_SHARED = "SELECT s.seq FROM fhir.shared s WHERE s.type = '{}' AND s.patient = p.patient"
_NOBODYS = "r.patient IS NULL AND NOT r.shared"


class Scope(Struct, frozen=True):
    """Where a job's resources are: ranges of places, by type."""

    ranges: dict[str, tuple[Range, ...]]


class Brought:
    """Reads what jobs brought.

    Every generator keeps a connection of the pool while it runs: close it when it is left early.

    Parameters
    ----------
    pool
        Connections of a role that may read the schema `fhir`.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def scope(self, job: str, kept: Mapping[str, Iterable[Range]]) -> Scope:
        """Give where a job's resources are.

        Parameters
        ----------
        kept
            Where, by type, those are that were there before.
        """
        rows = await self._pool.fetch(
            """
            SELECT t.type, t.first_seq, t.last_seq FROM fhir.batches b JOIN fhir.batch_types t USING (batch)
            WHERE b.job = $1 AND b.committed_at IS NOT NULL AND t.last_seq >= t.first_seq
            """,
            job,
        )
        found = {type_: list(ranges) for type_, ranges in kept.items()}
        for row in rows:
            found.setdefault(row["type"], []).append((row["first_seq"], row["last_seq"]))
        return Scope({type_: tuple(_joined(ranges)) for type_, ranges in sorted(found.items())})

    async def by_patient(self, scope: Scope, patients: Sequence[str]) -> AsyncGenerator[PatientChunk]:
        """Give what a job brought of these patients' compartments, all of one patient together, in order.

        A patient's own resource comes first. What is in several compartments comes with each.
        """
        types = sorted(scope.ranges, key=lambda type_: (type_ != "Patient", type_))
        if not types or not patients:
            return
        branches = " UNION ALL ".join(
            f"(SELECT '{type_}', c.lines, c.count FROM ({pieces(type_, condition)}) AS c)"  # noqa: S608
            for nth, type_ in enumerate(types, 2)
            for condition in (
                f"r.patient = p.patient AND {_within(nth)}",
                f"r.seq IN ({_SHARED.format(type_)}) AND {_within(nth)}",
            )
        )
        query = f"""
            SELECT p.patient, c.lines, c.count, c.type
            FROM unnest($1::text[]) WITH ORDINALITY AS p (patient, place)
            CROSS JOIN LATERAL ({branches}) AS c (type, lines, count)
        """  # noqa: S608
        arguments = [_multirange(scope.ranges[type_]) for type_ in types]
        async with (
            self._pool.acquire() as connection,
            aclosing(copy_out(connection, query, list(patients), *arguments, timeout=_HOUR)) as stream,
        ):
            async for found in stream:
                for patient, lines, count, type_ in found:
                    yield PatientChunk(text(patient), text(type_), ended(lines), number(count))

    async def of_nobody(self, scope: Scope) -> AsyncGenerator[bytes]:
        """Give what a job brought and that is in nobody's compartment: some lines at a time."""
        for type_, ranges in scope.ranges.items():
            query = f"""
                SELECT r.body FROM unnest($1::bigint[], $2::bigint[]) AS p (first, last)
                CROSS JOIN LATERAL (
                    SELECT r.body FROM {table_of(type_)} r
                    WHERE r.seq BETWEEN p.first AND p.last AND {_CURRENT} AND {_NOBODYS} ORDER BY r.seq
                ) AS r
            """  # noqa: S608
            firsts, lasts = zip(*ranges, strict=True)
            async with (
                self._pool.acquire() as connection,
                aclosing(copy_out(connection, query, firsts, lasts, timeout=_HOUR)) as stream,
            ):
                async for found in stream:
                    yield b"".join([ended(body) for (body,) in found])

    async def of_nobody_by_id(self, scope: Scope, keys: Iterable[Key]) -> AsyncGenerator[bytes]:
        """Give those of these resources that a job brought and that are in nobody's compartment, by lines."""
        by_type: dict[str, list[str]] = {}
        for type_, id_ in sorted(keys):
            if type_ in scope.ranges:
                by_type.setdefault(type_, []).append(id_)
        for type_, ids in by_type.items():
            within = _multirange(scope.ranges[type_])
            for first in range(0, len(ids), _IDS_AT_ONCE):
                rows = await self._pool.fetch(
                    f"""
                    SELECT r.body FROM {table_of(type_)} r
                    WHERE r.id = ANY($1::text[]) AND {_within(2)} AND {_NOBODYS} ORDER BY r.id
                    """,  # noqa: S608
                    ids[first : first + _IDS_AT_ONCE],
                    within,
                )
                for row in rows:
                    yield row["body"] + b"\n"


def _within(nth: int) -> str:
    """Give the condition on rows `r` to be current and in the ranges of the argument with this number."""
    return f"{_CURRENT} AND r.seq <@ ${nth}::text::int8multirange"


def _multirange(ranges: Sequence[Range]) -> str:
    return "{" + ",".join(f"[{first},{last}]" for first, last in ranges) + "}"


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """Give the ranges in order, those that touch or overlap as one."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found
