"""The exporter's tables in Postgres (schema `exports`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from sluice_contracts.commands import StartBulkExport
from sluice_contracts.exports import ExportAccess, ExportRequest, FileKind
from sluice_exporter.plan import JobFacts, PartPlan, SealedFile, SealedPart
from sluice_exporter.store import WaitingPart
from sluice_storage.encryption.keys import DataKey, MasterKeys
from sluice_storage.exports.objects import data_key_name
from sluice_storage.pool import TRANSIENT
from sluice_storage.resources.model import Snapshot
from sluice_streaming.outcomes import Unavailable

Connection = asyncpg.pool.PoolConnectionProxy
_FILE = ("type", "key", "count", "size", "sha256", "continues")


@contextmanager
def available() -> Iterator[None]:
    """Turn the errors of a database that is away into `Unavailable`."""
    try:
        yield
    except TRANSIENT:
        raise Unavailable("postgres") from None


class PostgresJobs:
    """See `sluice_exporter.store.Jobs`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, command: StartBulkExport, snapshot: Snapshot, keep: timedelta) -> JobFacts | None:
        """See `Jobs.begin`."""
        with available():
            async with self._pool.acquire() as connection, connection.transaction():
                # A row without a snapshot is what a cancellation or a deletion that came first left.
                await connection.execute(
                    """
                    INSERT INTO exports.jobs AS j (job, client, subject, request, access, snapshot,
                        transaction_time, keep, submitted_at)
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                    ON CONFLICT (job) DO UPDATE SET client = excluded.client, subject = excluded.subject,
                        request = excluded.request, access = excluded.access, snapshot = excluded.snapshot,
                        transaction_time = excluded.transaction_time, keep = excluded.keep,
                        submitted_at = excluded.submitted_at
                    WHERE j.snapshot IS NULL AND j.deleted_at IS NULL
                    """,
                    command.job,
                    command.client,
                    command.subject,
                    msgspec.json.encode(command.request),
                    msgspec.json.encode(command.access),
                    snapshot.batch,
                    snapshot.time,
                    keep,
                    datetime.fromtimestamp(command.submitted_at, UTC),
                )
                row = await connection.fetchrow(
                    """
                    SELECT job::text, client, subject, request, access, snapshot, transaction_time
                    FROM exports.jobs WHERE job = $1 AND deleted_at IS NULL
                    """,
                    command.job,
                )
        return None if row is None else _facts(row)

    async def plan(self, job: str, parts: AsyncIterator[Sequence[PartPlan]]) -> int:
        """See `Jobs.plan`."""
        with available():
            async with self._pool.acquire() as connection, connection.transaction():
                # Two processes that plan one job take turns. The job's row is not locked meanwhile: whoever
                # cancels or deletes it does not wait.
                await connection.execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended('exports.plan/' || $1, 0))", job
                )
                known = await connection.fetchval("SELECT parts FROM exports.jobs WHERE job = $1", job)
                if known is not None:
                    return int(known)
                count = 0
                async for some in parts:
                    await _insert(connection, job, count, some)
                    count += len(some)
                await connection.execute(
                    "UPDATE exports.jobs SET parts = $2, planned_at = now() WHERE job = $1", job, count
                )
                return count

    async def cancel(self, job: str) -> None:
        """See `Jobs.cancel`."""
        with available():
            await self._pool.execute(
                """
                INSERT INTO exports.jobs AS j (job, cancelled_at) VALUES ($1, now())
                ON CONFLICT (job) DO UPDATE SET cancelled_at = coalesce(j.cancelled_at, now())
                """,
                job,
            )


async def _insert(connection: Connection, job: str, first: int, parts: Sequence[PartPlan]) -> None:
    await connection.execute(
        "INSERT INTO exports.parts (job, part, plan) SELECT $1, * FROM unnest($2::int[], $3::bytea[])",
        job,
        list(range(first, first + len(parts))),
        [msgspec.json.encode(part) for part in parts],
    )


class PostgresParts:
    """See `sluice_exporter.store.Parts`.

    Parameters
    ----------
    pool
        Connections of the role `sluice_exporter`.
    keys
        Make and unwrap jobs' data keys.
    """

    def __init__(self, pool: asyncpg.Pool, keys: MasterKeys) -> None:
        self._pool = pool
        self._keys = keys

    async def find(self, job: str, part: int) -> WaitingPart | None:
        """See `Parts.find`."""
        with available():
            row = await self._pool.fetchrow(
                """
                SELECT j.job::text, j.client, j.subject, j.request, j.access, j.snapshot, j.transaction_time,
                    j.data_key, p.plan, p.sealed_at,
                    (j.cancelled_at IS NOT NULL OR j.deleted_at IS NOT NULL) AS stopped
                FROM exports.jobs j LEFT JOIN exports.parts p ON p.job = j.job AND p.part = $2
                WHERE j.job = $1
                """,
                job,
                part,
            )
            if row is None or (row["plan"] is None and not row["stopped"]):
                return None
            sealed = None if row["sealed_at"] is None else await _sealed(self._pool, job, part)
            stopped, data_key = row["stopped"], None
            if sealed is None and not stopped:
                data_key = await self._data_key(row["job"], row["data_key"])
                stopped = data_key is None
        facts = None if row["request"] is None else _facts(row)
        plan = None if row["plan"] is None else msgspec.json.decode(row["plan"], type=PartPlan)
        return WaitingPart(facts, plan, stopped, sealed, data_key)

    async def _data_key(self, job: str, kept: bytes | None) -> DataKey | None:
        """Give the job's data key, made if it has none yet; None if the job was stopped meanwhile."""
        name = data_key_name(job)
        if kept is None:
            _, made = self._keys.make(name)
            # Whoever is first: all parts' files are encrypted under one key.
            kept = await self._pool.fetchval(
                """
                UPDATE exports.jobs SET data_key = coalesce(data_key, $2)
                WHERE job = $1 AND cancelled_at IS NULL AND deleted_at IS NULL RETURNING data_key
                """,
                job,
                made,
            )
        return None if kept is None else self._keys.unwrap(kept, name)

    async def stopped(self, job: str) -> bool:
        """See `Parts.stopped`."""
        with available():
            going = await self._pool.fetchval(
                "SELECT true FROM exports.jobs"
                " WHERE job = $1 AND cancelled_at IS NULL AND deleted_at IS NULL",
                job,
            )
        return not going

    async def seal(
        self, job: str, part: int, files: Sequence[SealedFile], at: datetime, *, failed: str | None = None
    ) -> SealedPart | None:
        """See `Parts.seal`."""
        with available():
            row = await self._pool.fetchrow(_SEAL, job, part, at, failed, *_columns(files))
            if row is None or not row["going"]:
                return None
            if row["sealing"]:
                return SealedPart(files=tuple(files), at=at, failed=failed)
            return await _sealed(self._pool, job, part)


# One statement, so one round: whoever seals a part computes beside threads that write others. The lock orders
# the job's seals, and holds off its cancellation and deletion.
_SEAL = """
    WITH going AS (
        SELECT job, sealed FROM exports.jobs
        WHERE job = $1 AND cancelled_at IS NULL AND deleted_at IS NULL FOR UPDATE
    ), sealing AS (
        UPDATE exports.parts p SET sealed_at = $3, place = going.sealed, failed = $4 FROM going
        WHERE p.job = going.job AND p.part = $2 AND p.sealed_at IS NULL RETURNING p.job, p.part
    ), counted AS (
        UPDATE exports.jobs j SET sealed = j.sealed + 1 FROM sealing WHERE j.job = sealing.job
    ), listed AS (
        INSERT INTO exports.files (encrypted, job, part, n, kind, type, key, count, size, sha256, continues)
        SELECT true, sealing.job, sealing.part, file.* FROM sealing, unnest($5::int[], $6::text[], $7::text[],
            $8::text[], $9::bigint[], $10::bigint[], $11::bytea[], $12::boolean[]) AS file
    )
    SELECT EXISTS (SELECT FROM going) AS going, EXISTS (SELECT FROM sealing) AS sealing
"""


def _columns(files: Sequence[SealedFile]) -> tuple[list[object], ...]:
    """Give the columns of rows that list the files."""
    return (
        list(range(len(files))),
        [file.kind.value for file in files],
        [file.type for file in files],
        [file.key for file in files],
        [file.count for file in files],
        [file.size for file in files],
        [file.sha256 for file in files],
        [file.continues for file in files],
    )


async def _sealed(pool: asyncpg.Pool, job: str, part: int) -> SealedPart | None:
    rows = await pool.fetch(
        """
        SELECT p.sealed_at, p.failed, f.n, f.kind, f.type, f.key, f.count, f.size, f.sha256, f.continues
        FROM exports.parts p LEFT JOIN exports.files f USING (job, part)
        WHERE p.job = $1 AND p.part = $2 AND p.sealed_at IS NOT NULL ORDER BY f.n
        """,
        job,
        part,
    )
    if not rows:
        return None
    files = tuple(
        SealedFile(kind=FileKind(row["kind"]), **{name: row[name] for name in _FILE})
        for row in rows
        if row["n"] is not None
    )
    return SealedPart(files=files, at=rows[0]["sealed_at"], failed=rows[0]["failed"])


def _facts(row: asyncpg.Record) -> JobFacts:
    return JobFacts(
        job=row["job"],
        client=row["client"] or "",
        subject=row["subject"] or "",
        request=msgspec.json.decode(row["request"], type=ExportRequest),
        access=msgspec.json.decode(row["access"], type=ExportAccess),
        snapshot=Snapshot(row["snapshot"], row["transaction_time"]),
    )
