"""The statements of writing, each for all rows of a batch that are of one type."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from sluice_storage.resources.batches import Batch, ConflictError
from sluice_storage.resources.copy_rows import COLUMNS, TRAILER, RowEncoder
from sluice_storage.resources.copy_stream import HEADER
from sluice_storage.resources.tables import Connection, table_of

_PIECE_BYTES = 128 * 1024
_SECONDS = 600.0
_TALLY = """
    INSERT INTO fhir.batch_types AS t (type, batch, first_seq, last_seq, resources, bytes, largest,
        tombstones, replaced, replaced_bytes)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_TALLY_MORE = f"""
    {_TALLY}
    ON CONFLICT (type, batch) DO UPDATE SET last_seq = excluded.last_seq,
        resources = t.resources + excluded.resources, bytes = t.bytes + excluded.bytes,
        largest = greatest(t.largest, excluded.largest), tombstones = t.tombstones + excluded.tombstones,
        replaced = t.replaced + excluded.replaced,
        replaced_bytes = t.replaced_bytes + excluded.replaced_bytes
"""


class Head(Struct, frozen=True, gc=False):
    """The current version of a resource; `size` is the length of its body in bytes.

    `job` is the job that stored it, if that was asked for.
    """

    seq: int
    version: int
    digest: bytes
    source_updated: datetime | None
    deleted: bool
    size: int
    job: str | None = None


class Content(Protocol):
    """What a version's body is made of when it is written: not before, so that no batch is held twice."""

    def body(self, version: int, updated: bytes) -> bytes:
        """Give its line with this version and this instant."""


class Row(Struct, frozen=True, gc=False):
    """A version to be written; `content` is None for a tombstone, `head` is the version it replaces."""

    id: str
    version: int
    digest: bytes
    source_updated: datetime | None
    patients: tuple[str, ...]
    content: Content | None
    head: Head | None


class _Sizes(Struct):
    """How many bodies were written, how many bytes they have, and the longest of them."""

    count: int = 0
    bytes: int = 0
    largest: int = 0


async def heads_of(
    connection: Connection, type_: str, ids: Sequence[str], *, jobs: bool = False
) -> dict[str, Head]:
    """Give the current versions of those of the resources that there are, or were; with `jobs`, whose."""
    job = "(SELECT b.job::text FROM fhir.batches b WHERE b.batch = r.batch)" if jobs else "NULL"
    rows = await connection.fetch(
        f"""
        SELECT r.id, r.seq, r.version, r.digest, r.source_updated, r.deleted, r.size, {job}
        FROM {table_of(type_)} r WHERE r.id = ANY($1::text[]) AND r.superseded_by IS NULL
        """,  # noqa: S608
        ids,
    )
    return {row[0]: Head(*tuple(row)[1:]) for row in rows}


async def living(
    connection: Connection, type_: str, ids: Sequence[str]
) -> dict[str, tuple[Head, tuple[str, ...]]]:
    """Give the current versions of those of the resources that there are, with their patients."""
    rows = await connection.fetch(
        f"""
        SELECT r.id, r.patient, ARRAY(
                SELECT s.patient FROM fhir.shared s WHERE r.shared AND s.type = r.type AND s.seq = r.seq
            ) AS patients, r.seq, r.version, r.digest, r.source_updated, r.deleted, r.size
        FROM {table_of(type_)} r WHERE r.id = ANY($1::text[]) AND r.superseded_by IS NULL AND NOT r.deleted
        """,  # noqa: S608
        ids,
    )
    return {
        row["id"]: (
            Head(*tuple(row)[3:]),
            tuple(row["patients"]) if row["patient"] is None else (row["patient"],),
        )
        for row in rows
    }


async def supersede(connection: Connection, type_: str, batch: Batch, heads: Sequence[Head]) -> None:
    """Say that the batch replaces these versions.

    Raises
    ------
    ConflictError
        One of them is not the current one any more, or has been told of a later time at its source.
    """
    if not heads:
        return
    done = await connection.execute(
        f"""
        UPDATE {table_of(type_)} r SET superseded_by = $1
        FROM unnest($2::bigint[], $3::timestamptz[]) AS h (seq, source_updated)
        WHERE r.seq = h.seq AND r.superseded_by IS NULL AND r.batch < $1
            AND r.source_updated IS NOT DISTINCT FROM h.source_updated
        """,  # noqa: S608
        batch.number,
        [head.seq for head in heads],
        [head.source_updated for head in heads],
    )
    _expect(done, len(heads))


async def touch(connection: Connection, type_: str, times: Sequence[tuple[int, datetime]]) -> None:
    """Note that the versions at these places are, unchanged, of these times at their source.

    Raises
    ------
    ConflictError
        One of them is not the current one any more.
    """
    if not times:
        return
    done = await connection.execute(
        f"""
        UPDATE {table_of(type_)} r SET source_updated = greatest(r.source_updated, t.time)
        FROM unnest($1::bigint[], $2::timestamptz[]) AS t (seq, time)
        WHERE r.seq = t.seq AND r.superseded_by IS NULL
        """,  # noqa: S608
        [seq for seq, _ in times],
        [time for _, time in times],
    )
    _expect(done, len(times))


def _expect(done: str, rows: int) -> None:
    if int(done.rpartition(" ")[2]) != rows:
        raise ConflictError


async def insert(
    connection: Connection,
    type_: str,
    batch: Batch,
    rows: Sequence[Row],
    first_seq: int,
    *,
    more: bool = False,
) -> None:
    """Insert the versions, at the places from `first_seq` on, and note what the batch has of this type.

    With `more` it may have some already, right before.
    """
    if not rows:
        return
    sizes = _Sizes()
    await connection.copy_to_table(
        table_of(type_).partition(".")[2],
        schema_name="fhir",
        columns=COLUMNS,
        source=_copied(type_, batch, rows, first_seq, sizes),
        format="binary",
        timeout=_SECONDS,
    )
    shared = [
        (patient, type_, seq)
        for seq, row in enumerate(rows, first_seq)
        if len(row.patients) > 1
        for patient in row.patients
    ]
    if shared:
        await connection.copy_records_to_table(
            "shared", schema_name="fhir", columns=("patient", "type", "seq"), records=shared, timeout=_SECONDS
        )
    await _tally(connection, type_, batch, rows, first_seq, sizes, more=more)


async def _copied(
    type_: str, batch: Batch, rows: Sequence[Row], first_seq: int, sizes: _Sizes
) -> AsyncGenerator[bytes]:
    """Give the rows as COPY's binary format, in pieces: Postgres works on one while the next is made."""
    encoder = RowEncoder(type_, batch.number, batch.time)
    instant = batch.instant.encode()
    held, size = [HEADER], 0
    for seq, row in enumerate(rows, first_seq):
        version, content = row.version, row.content
        body = None if content is None else content.body(version, instant)
        length = None if body is None else len(body)
        held.append(encoder.head(row.id, seq, version, row.digest, row.source_updated, row.patients, length))
        if body is not None and length is not None:
            held.append(body)
            size += length
            sizes.count += 1
            if length > sizes.largest:
                sizes.largest = length
        if size >= _PIECE_BYTES:
            yield b"".join(held)
            sizes.bytes += size
            held, size = [], 0
    sizes.bytes += size
    yield b"".join((*held, TRAILER))


async def _tally(
    connection: Connection,
    type_: str,
    batch: Batch,
    rows: Sequence[Row],
    first_seq: int,
    sizes: _Sizes,
    *,
    more: bool,
) -> None:
    replaced = [row.head.size for row in rows if row.head is not None and not row.head.deleted]
    await connection.execute(
        _TALLY_MORE if more else _TALLY,
        type_,
        batch.number,
        first_seq,
        first_seq + len(rows) - 1,
        sizes.count,
        sizes.bytes,
        sizes.largest,
        len(rows) - sizes.count,
        len(replaced),
        sum(replaced),
    )


async def put_loaded_group(
    connection: Connection, batch: Batch, group: str, name: str, patients: Iterable[str]
) -> None:
    """Make a group's members those that its Group resource names; who stays keeps the time of joining."""
    members = list(patients)
    await connection.execute(
        """
        INSERT INTO fhir.groups (group_id, managed, name, updated) VALUES ($1, 'resource', $2, $3)
        ON CONFLICT (group_id) DO UPDATE SET managed = 'resource', name = $2, updated = $3
        """,
        group,
        name,
        batch.time,
    )
    await connection.execute(
        "DELETE FROM fhir.group_members WHERE group_id = $1 AND patient <> ALL($2::text[])", group, members
    )
    await connection.execute(
        """
        INSERT INTO fhir.group_members (group_id, patient, since)
        SELECT $1, m.patient, $3 FROM unnest($2::text[]) AS m (patient) ON CONFLICT DO NOTHING
        """,
        group,
        members,
        batch.time,
    )


async def drop_loaded_groups(connection: Connection, groups: Sequence[str]) -> None:
    """Forget the groups whose Group resources are deleted."""
    await connection.execute(
        "DELETE FROM fhir.groups WHERE group_id = ANY($1::text[]) AND managed = 'resource'", groups
    )
