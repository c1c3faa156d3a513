"""Taking back what a job stored: what it replaced is put back, what was not there before is deleted.

Only versions that are the current ones are touched; what somebody else has stored since stays. Nothing is
rewritten: what is put back is a new version, and what is deleted leaves a tombstone, so that exports of
changes tell of both. Needs the package sluice-fhir (`sluice-storage[load]`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import partial

import asyncpg
from msgspec import Struct

from sluice_fhir.ndjson_resource import parse
from sluice_storage.resources.batches import Batch, batch
from sluice_storage.resources.tables import Connection, table_of
from sluice_storage.resources.writer import Writer
from sluice_storage.resources.writer_rows import (
    Head,
    Row,
    drop_loaded_groups,
    insert,
    put_loaded_group,
    supersede,
)

# With the versions before them they are held in memory.
_AT_ONCE = 500
_PATIENTS = """
    ARRAY(SELECT r.patient WHERE r.patient IS NOT NULL UNION ALL
        SELECT s.patient FROM fhir.shared s WHERE r.shared AND s.type = r.type AND s.seq = r.seq) AS patients
"""


class _Current(Struct, frozen=True, gc=False):
    """A version that is to be taken back: its batch, and the patients in whose compartments it is."""

    id: str
    batch: int
    head: Head
    patients: tuple[str, ...]


class _Earlier(Struct, frozen=True, gc=False):
    """A version that was replaced, and where it had come from."""

    job: str | None
    source: str | None
    body: bytes
    digest: bytes
    source_updated: datetime | None
    patients: tuple[str, ...]


class Withdrawer(Writer):
    """Takes back what jobs stored.

    Parameters
    ----------
    pool
        Connections of a role that owns the schema `fhir`.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool)

    async def withdraw(self, job: str) -> int:
        """Take back what a job stored, and give how many resources changed by that.

        When it returns, nothing that the job stored is current, and it can store nothing any more. When it is
        broken off, what was done stays; doing it again completes it.
        """
        await self._close(job)
        changed = 0
        for type_, first, last in await self._stored(job):
            for place in range(first, last + 1, _AT_ONCE):
                span = (place, min(last, place + _AT_ONCE - 1))
                changed += await self._retried(partial(self._take_back, type_=type_, span=span))
        return changed

    async def _close(self, job: str) -> None:
        """See that no batch of the job is committed from here on."""
        await self._pool.execute("INSERT INTO fhir.withdrawn (job) VALUES ($1) ON CONFLICT DO NOTHING", job)
        # This waits for those whose data are being written: they end as they would have.
        await self._pool.execute(
            "UPDATE fhir.batches SET abandoned_at = clock_timestamp()"
            " WHERE job = $1 AND committed_at IS NULL AND abandoned_at IS NULL",
            job,
        )

    async def _stored(self, job: str) -> list[tuple[str, int, int]]:
        rows = await self._pool.fetch(
            """
            SELECT t.type, t.first_seq, t.last_seq FROM fhir.batches b JOIN fhir.batch_types t USING (batch)
            WHERE b.job = $1 AND b.committed_at IS NOT NULL ORDER BY b.batch, t.type
            """,
            job,
        )
        return [(row["type"], row["first_seq"], row["last_seq"]) for row in rows]

    async def _take_back(self, connection: Connection, *, type_: str, span: tuple[int, int]) -> int:
        current = await _current(connection, type_, span)
        earlier = await _earlier(connection, type_, {each.id: each.batch for each in current})
        groups: dict[tuple[str | None, str | None], list[_Current]] = defaultdict(list)
        gone: list[_Current] = []
        for each in current:
            before = earlier.get(each.id)
            if before is not None:
                groups[before.job, before.source].append(each)
            elif not each.head.deleted:
                gone.append(each)
        for (job, source), group in groups.items():
            # It is that job's again, and goes when that is withdrawn.
            async with batch(connection, len(group), job=job, source=source) as opened:
                await _put_back(connection, type_, opened, group, earlier)
        if gone:
            async with batch(connection, len(gone)) as opened:
                await _bury(connection, type_, opened, gone)
        return len(gone) + sum(map(len, groups.values()))


async def _current(connection: Connection, type_: str, span: tuple[int, int]) -> list[_Current]:
    """Give the versions at these places that are the current ones."""
    rows = await connection.fetch(
        f"""
        SELECT r.id, r.batch, r.seq, r.version, r.digest, r.source_updated, r.deleted, r.size, {_PATIENTS}
        FROM {table_of(type_)} r WHERE r.seq BETWEEN $1 AND $2 AND r.superseded_by IS NULL
        """,  # noqa: S608
        *span,
    )
    return [_Current(row["id"], row["batch"], Head(*tuple(row)[2:8]), tuple(row["patients"])) for row in rows]


async def _earlier(connection: Connection, type_: str, replaced_by: dict[str, int]) -> dict[str, _Earlier]:
    """Give what is to be put back: of each resource the last version before that no withdrawn job stored.

    Parameters
    ----------
    replaced_by
        The batches whose versions are to be taken back, by the resources' ids. What had been deleted, or was
        not there, or has been pruned since, is not in the answer.
    """
    found: dict[str, _Earlier] = {}
    while replaced_by:
        ids_of: dict[int, list[str]] = defaultdict(list)
        for id_, number in replaced_by.items():
            ids_of[number].append(id_)
        replaced_by = {}
        for number, ids in ids_of.items():
            for row in await _replaced(connection, type_, number, ids):
                if row["withdrawn"]:
                    replaced_by[row["id"]] = row["batch"]
                elif row["body"] is not None:
                    found[row["id"]] = _Earlier(
                        job=row["job"],
                        source=row["source"],
                        body=row["body"],
                        digest=row["digest"],
                        source_updated=row["source_updated"],
                        patients=tuple(row["patients"]),
                    )
    return found


async def _replaced(
    connection: Connection, type_: str, number: int, ids: Sequence[str]
) -> list[asyncpg.Record]:
    return await connection.fetch(
        f"""
        SELECT r.id, r.batch, w.job IS NOT NULL AS withdrawn, b.job::text, b.source, r.body, r.digest,
            r.source_updated, {_PATIENTS}
        FROM {table_of(type_)} r
        LEFT JOIN fhir.batches b ON b.batch = r.batch LEFT JOIN fhir.withdrawn w ON w.job = b.job
        WHERE r.superseded_by = $1 AND r.id = ANY($2::text[])
        """,  # noqa: S608
        number,
        ids,
    )


async def _put_back(
    connection: Connection,
    type_: str,
    opened: Batch,
    group: Sequence[_Current],
    earlier: dict[str, _Earlier],
) -> None:
    await supersede(connection, type_, opened, [each.head for each in group])
    rows: list[Row] = []
    for each in group:
        before, version = earlier[each.id], each.head.version + 1
        resource = parse(before.body)
        rows.append(
            Row(each.id, version, before.digest, before.source_updated, before.patients, resource, each.head)
        )
        if resource.members is not None:
            await put_loaded_group(connection, opened, resource.id, resource.name, resource.members)
    await insert(connection, type_, opened, rows, opened.first_seq)


async def _bury(connection: Connection, type_: str, opened: Batch, gone: Sequence[_Current]) -> None:
    await supersede(connection, type_, opened, [each.head for each in gone])
    rows = [Row(each.id, each.head.version + 1, b"", None, each.patients, None, each.head) for each in gone]
    await insert(connection, type_, opened, rows, opened.first_seq)
    if type_ == "Group":
        await drop_loaded_groups(connection, [each.id for each in gone])
