"""Jobs' rows in Postgres (`pulls.jobs`), and the files they are planned into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from sluice_contracts.commands import StartBulkImport
from sluice_contracts.imports import ImportRequest
from sluice_fhir.export_manifest import ListedFile
from sluice_puller.store import Due, FilesPlan, Next, Phase, PullJob
from sluice_storage.pool import TRANSIENT
from sluice_streaming.outcomes import Unavailable
from sluice_telemetry.trace import current

Connection = asyncpg.pool.PoolConnectionProxy

_AT_ONCE = 10_000
_COLUMNS = (
    "job::text, client, subject, submitted_at, request, phase, turn, strikes, waited, poll_url, files,"
    " settled, decided, planned_at, strict, failed, failed_status, finished_at, cancelled_at"
)
_LIVE = "cancelled_at IS NULL AND deleted_at IS NULL AND finished_at IS NULL AND failed IS NULL"
RELEASE = """
    turn = turn + 1, strikes = 0,
    phase = CASE WHEN poll_url IS NULL THEN 'done' ELSE 'releasing' END,
    due = CASE WHEN poll_url IS NULL THEN NULL ELSE $2::timestamptz END,
    request = CASE WHEN poll_url IS NULL THEN NULL ELSE request END
"""
"""What ends a job that is open: all that is left is its export at the source, if it has one. $2 is now."""


@contextmanager
def available() -> Iterator[None]:
    """Turn the errors of a database that is away into `Unavailable`."""
    try:
        yield
    except TRANSIENT:
        raise Unavailable("postgres") from None


class PostgresJobs:
    """See `sluice_puller.store.Jobs`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, command: StartBulkImport, now: datetime, lease: timedelta) -> PullJob:
        """See `Jobs.begin`."""
        with available():
            # A row without a client is what a cancellation or a deletion that came first left.
            await self._pool.execute(
                """
                INSERT INTO pulls.jobs AS j (job, client, subject, request, submitted_at, due, strict, trace)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                ON CONFLICT (job) DO UPDATE SET client = excluded.client, subject = excluded.subject,
                    submitted_at = excluded.submitted_at
                WHERE j.client IS NULL
                """,
                command.job,
                command.client,
                command.subject,
                msgspec.json.encode(command.request),
                datetime.fromtimestamp(command.submitted_at, UTC),
                now + lease,
                command.request.strict,
                None if (trace := current()) is None else str(trace),
            )
            found = await self.get(command.job)
        if found is None:
            raise RuntimeError("a job's row went away")
        return found

    async def get(self, job: str) -> PullJob | None:
        """See `Jobs.get`."""
        with available():
            row = await self._pool.fetchrow(f"SELECT {_COLUMNS} FROM pulls.jobs WHERE job = $1", job)  # noqa: S608
        return None if row is None else _job(row)

    async def wait(self, job: str, turn: int, then: Next) -> None:
        """See `Jobs.wait`."""
        with available():
            await self._pool.execute(
                f"""
                UPDATE pulls.jobs SET turn = turn + 1, due = $3, strikes = $4,
                    poll_url = coalesce($5, poll_url), progress = greatest($6, progress),
                    waited = waited + $7,
                    phase = CASE WHEN phase = 'starting' AND $5::text IS NOT NULL THEN 'polling'
                        ELSE phase END,
                    begun_at = CASE WHEN poll_url IS NULL AND $5::text IS NOT NULL
                        THEN $3::timestamptz - $7::interval ELSE begun_at END
                WHERE job = $1 AND turn = $2 AND (phase = 'releasing' OR ({_LIVE}))
                """,  # noqa: S608
                job,
                turn,
                then.due,
                then.strikes,
                then.poll_url,
                then.progress,
                then.waited,
            )

    async def plan(self, job: str, turn: int, plan: FilesPlan, at: datetime) -> None:
        """See `Jobs.plan`."""
        with available():
            async with self._pool.acquire() as connection, connection.transaction():
                planning = await connection.fetchval(
                    f"""
                    UPDATE pulls.jobs SET phase = 'loading', turn = turn + 1, decided = turn, due = NULL,
                        strikes = 0, files = $3, planned_at = $4, transaction_time = $5, needs_token = $6,
                        base = $7
                    WHERE job = $1 AND turn = $2 AND phase IN ('starting', 'polling') AND {_LIVE}
                    RETURNING true
                    """,  # noqa: S608
                    job,
                    turn,
                    len(plan.files),
                    at,
                    plan.transaction_time,
                    plan.needs_token,
                    plan.base,
                )
                if planning:
                    for first in range(0, len(plan.files), _AT_ONCE):
                        await _insert(connection, job, first, plan.files[first : first + _AT_ONCE])

    async def fail(self, job: str, turn: int | None, code: str, status: int | None, at: datetime) -> None:
        """See `Jobs.fail`."""
        with available():
            await self._pool.execute(
                f"""
                UPDATE pulls.jobs SET failed = $3, failed_status = $4, planned_at = $2, decided = turn,
                    {RELEASE}
                WHERE job = $1 AND turn = coalesce($5, turn) AND files IS NULL AND {_LIVE}
                """,  # noqa: S608
                job,
                at,
                code,
                status,
                turn,
            )

    async def abandon(self, job: str, code: str, at: datetime) -> None:
        """See `Jobs.abandon`."""
        with available():
            async with self._pool.acquire() as connection, connection.transaction():
                planned = await connection.fetchval(
                    f"""
                    UPDATE pulls.jobs SET failed = $3, planned_at = coalesce(planned_at, $2),
                        decided = coalesce(decided, turn), settled = coalesce(files, 0),
                        finished_at = CASE WHEN files IS NOT NULL THEN $2::timestamptz END, {RELEASE}
                    WHERE job = $1 AND client IS NOT NULL AND {_LIVE} RETURNING files IS NOT NULL
                    """,  # noqa: S608
                    job,
                    at,
                    code,
                )
                if planned:
                    await connection.execute(
                        """
                        UPDATE pulls.files f SET settled_at = $2, failed = coalesce(f.failed, $3), url = NULL
                        FROM pulls.jobs j
                        WHERE j.job = $1 AND f.job = $1 AND (j.strict OR f.settled_at IS NULL)
                        """,
                        job,
                        at,
                        code,
                    )
                    await connection.execute("DELETE FROM pulls.staged WHERE job = $1", job)

    async def lost(self, job: str) -> list[int]:
        """See `Jobs.lost`."""
        with available():
            rows = await self._pool.fetch(
                "SELECT f.item FROM pulls.files f JOIN pulls.jobs j USING (job) WHERE f.job = $1"
                " AND j.failed IS NOT NULL AND f.failed IS NOT NULL AND f.settled_at = j.finished_at"
                " ORDER BY f.item",
                job,
            )
        return [row["item"] for row in rows]

    async def cancel(self, job: str, at: datetime) -> None:
        """See `Jobs.cancel`."""
        with available():
            await self._pool.execute(
                """
                INSERT INTO pulls.jobs AS j (job, cancelled_at) VALUES ($1, $2)
                ON CONFLICT (job) DO UPDATE SET cancelled_at = coalesce(j.cancelled_at, excluded.cancelled_at)
                WHERE j.finished_at IS NULL AND j.failed IS NULL
                """,
                job,
                at,
            )

    async def retire(self, job: str, at: datetime) -> None:
        """See `Jobs.retire`."""
        with available():
            await self._pool.execute("DELETE FROM pulls.staged WHERE job = $1", job)
            await self._pool.execute(
                f"""
                UPDATE pulls.jobs SET {RELEASE}
                WHERE job = $1 AND cancelled_at IS NOT NULL AND client IS NOT NULL
                    AND phase IN ('starting', 'polling', 'loading')
                """,  # noqa: S608
                job,
                at,
            )

    async def done(self, job: str, turn: int) -> None:
        """See `Jobs.done`."""
        with available():
            await self._pool.execute(
                """
                UPDATE pulls.jobs SET phase = 'done', turn = turn + 1, due = NULL, request = NULL,
                    poll_url = NULL
                WHERE job = $1 AND turn = $2 AND phase = 'releasing'
                """,
                job,
                turn,
            )

    async def unsettled(self, job: str) -> list[int]:
        """See `Jobs.unsettled`."""
        with available():
            rows = await self._pool.fetch(
                "SELECT item FROM pulls.files WHERE job = $1 AND settled_at IS NULL ORDER BY item", job
            )
        return [row["item"] for row in rows]

    async def due(self, now: datetime, lease: timedelta, most: int) -> Sequence[Due]:
        """See `Jobs.due`."""
        with available():
            rows = await self._pool.fetch(
                """
                UPDATE pulls.jobs SET due = $2 WHERE job IN (
                    SELECT job FROM pulls.jobs WHERE due <= $1 ORDER BY due LIMIT $3 FOR UPDATE SKIP LOCKED
                ) RETURNING job::text, turn, trace
                """,
                now,
                now + lease,
                most,
            )
        return [Due(row["job"], row["turn"], row["trace"]) for row in rows]

    async def removed(self, job: str) -> bool:
        """See `Jobs.removed`."""
        with available():
            return bool(
                await self._pool.fetchval("SELECT removed_at IS NOT NULL FROM pulls.jobs WHERE job = $1", job)
            )


async def _insert(connection: Connection, job: str, first: int, files: Sequence[ListedFile]) -> None:
    await connection.execute(
        """
        INSERT INTO pulls.files (job, item, kind, type, url, expected)
        SELECT $1, * FROM unnest($2::int[], $3::text[], $4::text[], $5::text[], $6::bigint[])
        """,
        job,
        list(range(first, first + len(files))),
        [file.kind.value for file in files],
        [file.type for file in files],
        [file.url for file in files],
        [file.count for file in files],
    )


def _job(row: asyncpg.Record) -> PullJob:
    values = dict(row)
    request = values.pop("request")
    return PullJob(
        request=None if request is None else msgspec.json.decode(request, type=ImportRequest),
        phase=Phase(values.pop("phase")),
        **values,
    )
