"""Snapshots, and how what an export asks for is cut into parts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg
import msgspec

from sluice_storage.resources.cutting import cut, gathered
from sluice_storage.resources.model import Part, Place, Snapshot, Total, Window
from sluice_storage.resources.tables import existing, table_of, visible

PART_BYTES = 64 * 1024 * 1024
"""About the most bytes of NDJSON that a part has. One patient's resources of a type are not cut."""

_PATIENCE = timedelta(seconds=15)


class Planner:
    """Plans reads; what it plans is read by `sluice_storage.resources.reader.Reader`.

    Parameters
    ----------
    pool
        Connections of a role that may read the schema `fhir`.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def snapshot(self, *, wait: float = 10.0, at: datetime | None = None) -> Snapshot:
        """Take a snapshot of everything that is committed now.

        Batches that are being written are waited for, up to `wait` seconds, so that what was committed beside
        them is in. If one takes longer, the snapshot (and its time) are held back to before it: the snapshot
        is then older, and no less exact.

        Parameters
        ----------
        at
            The time it is, if not what the server's clock says.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        wanted: int | None = None
        while True:
            row = await self._pool.fetchrow("SELECT * FROM fhir.take_snapshot($1, $2)", at, _PATIENCE)
            if row is None:
                raise RuntimeError("the store gave no snapshot")
            wanted = row["newest"] if wanted is None else wanted
            if row["batch"] >= wanted or loop.time() >= until:
                return Snapshot(row["batch"], row["time"])
            await asyncio.sleep(0.02)

    async def types(self, window: Window) -> dict[str, Total]:
        """Give the types that have resources in the window; see `known_types` for those that had."""
        replaced = "0" if window.since or window.until else "replaced"
        replaced_bytes = "0" if window.since or window.until else "replaced_bytes"
        rows = await self._pool.fetch(
            f"""
            SELECT t.type, sum(t.resources - {replaced})::bigint AS resources,
                sum(t.bytes - {replaced_bytes})::bigint AS bytes
            FROM fhir.batch_types t JOIN fhir.batches b USING (batch)
            WHERE t.batch <= $1 AND b.time > $2 AND b.time <= $3 GROUP BY t.type ORDER BY t.type
            """,  # noqa: S608
            *_bounds(window),
        )
        return {row["type"]: Total(row["resources"], row["bytes"]) for row in rows if row["resources"]}

    async def known_types(self, snapshot: Snapshot) -> tuple[str, ...]:
        """Give the types of which the snapshot has, or ever had, a resource: deleted ones count as well.

        Those of which most was stored come first.
        """
        rows = await self._pool.fetch(
            """
            SELECT type FROM fhir.batch_types WHERE batch <= $1 GROUP BY type ORDER BY sum(bytes) DESC, type
            """,
            snapshot.batch,
        )
        return tuple(row["type"] for row in rows)

    async def parts(
        self,
        types: Sequence[str],
        window: Window,
        *,
        compartment: bool = False,
        part_bytes: int = PART_BYTES,
    ) -> list[Part]:
        """Cut all resources of the types into parts; with `compartment` only those of patients.

        A type that has at most `part_bytes` is one part; a larger one is cut into parts of about equal size,
        wherever batches end. Costs a look at each batch, not at each resource.
        """
        rows = await self._blocks(types, window, "t.resources > 0")
        return [
            part
            for type_ in types
            for part in cut(type_, rows.get(type_, ()), part_bytes, compartment=compartment)
        ]

    async def deleted_parts(
        self,
        types: Sequence[str],
        window: Window,
        *,
        patients: Sequence[str] | None = None,
        compartment: bool = False,
    ) -> list[Part]:
        """Give the parts with what was deleted in the window, at most one for a type.

        With `patients` only what was in their compartments, with `compartment` in that of any patient.
        """
        rows = await self._blocks(types, window, "t.tombstones > 0")
        return [
            msgspec.structs.replace(part, patients=tuple(patients or ()), deleted=True)
            for type_ in types
            if patients is None or patients
            for part in cut(type_, rows.get(type_, ()), 1 << 60, compartment=compartment)
        ]

    async def patient_parts(
        self,
        types: Sequence[str],
        patients: Sequence[str],
        window: Window,
        *,
        part_bytes: int = PART_BYTES,
    ) -> list[Part]:
        """Cut the resources in these patients' compartments into parts; costs a look at each of those."""
        wanted = list(dict.fromkeys(patients))
        parts: list[Part] = []
        for type_ in await existing(self._pool, types):
            rows = await self._pool.fetch(
                f"""
                SELECT r.patient, count(*) AS rows, sum(r.size)::bigint AS bytes, max(r.size) AS largest
                FROM {table_of(type_)} r WHERE r.patient = ANY($1::text[]) AND {visible(window)}
                GROUP BY r.patient
                """,  # noqa: S608
                wanted,
            )
            found = {row["patient"]: row for row in rows}
            parts += gathered(type_, [found[patient] for patient in wanted if patient in found], part_bytes)
            parts += await self._shared(type_, wanted, window)
        return parts

    async def patients(self, window: Window, *, after: int = 0, limit: int = 1000) -> Sequence[Place]:
        """Give some of the patients in the window, in the order of their places, from `after` on."""
        rows = await self._pool.fetch(
            f"""
            SELECT r.seq, r.id FROM fhir.resources r
            WHERE r.type = 'Patient' AND r.seq > $1 AND {visible(window)} ORDER BY r.seq LIMIT $2
            """,  # noqa: S608
            after,
            limit,
        )
        return [Place(row["seq"], row["id"]) for row in rows]

    async def _shared(self, type_: str, patients: Sequence[str], window: Window) -> list[Part]:
        row = await self._pool.fetchrow(
            f"""
            SELECT count(*) AS rows, sum(r.size)::bigint AS bytes, max(r.size) AS largest
            FROM {table_of(type_)} r WHERE {visible(window)} AND r.seq IN (
                SELECT s.seq FROM fhir.shared s WHERE s.type = $1 AND s.patient = ANY($2::text[]))
            """,  # noqa: S608
            type_,
            patients,
        )
        if row is None or not row["rows"]:
            return []
        return [Part(type_, row["rows"], row["bytes"], row["largest"], patients=tuple(patients), shared=True)]

    async def _blocks(
        self, types: Sequence[str], window: Window, condition: str
    ) -> dict[str, list[asyncpg.Record]]:
        rows = await self._pool.fetch(
            f"""
            SELECT t.type, t.first_seq, t.last_seq, t.resources, t.tombstones, t.bytes, t.largest
            FROM fhir.batch_types t JOIN fhir.batches b USING (batch)
            WHERE t.batch <= $1 AND b.time > $2 AND b.time <= $3 AND t.type = ANY($4::text[]) AND {condition}
            ORDER BY t.type, t.first_seq
            """,  # noqa: S608
            *_bounds(window),
            list(types),
        )
        found: dict[str, list[asyncpg.Record]] = {}
        for row in rows:
            found.setdefault(row["type"], []).append(row)
        return found


def _bounds(window: Window) -> tuple[int, datetime, datetime]:
    # Time and place rise together, so a span of times is a span of places, and rows need no look at theirs.
    early = window.since or datetime.min.replace(tzinfo=window.snapshot.time.tzinfo)
    late = window.until or datetime.max.replace(tzinfo=window.snapshot.time.tzinfo)
    return window.snapshot.batch, early, late
