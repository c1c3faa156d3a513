"""How jobs end in Postgres: what was referred to is looked up, and the end is one transaction."""

from __future__ import annotations

from datetime import datetime

import asyncpg
import msgspec

from sluice_contracts.errors import ItemError
from sluice_contracts.imports import ImportRequest
from sluice_fhir.ndjson_resource import Resource, parse
from sluice_puller.postgres_jobs import RELEASE
from sluice_puller.postgres_references import resolve
from sluice_puller.postgres_staging import Staged, Staging, keep_counts
from sluice_puller.store import Finished
from sluice_storage.resources.applying import Applier
from sluice_storage.resources.tables import Connection
from sluice_storage.resources.whole import WholeWriter
from sluice_storage.resources.writer import Written

# What a job may not have that is wanted whole.
_UNSOUND = """
    SELECT EXISTS (
        SELECT FROM pulls.files f WHERE f.job = $1
            AND (f.failed IS NOT NULL OR f.invalid > 0 OR (f.expected IS NOT NULL AND f.expected <> f.read))
    ) OR EXISTS (SELECT FROM pulls.unresolved u WHERE u.job = $1)
"""


class _OverError(Exception):
    """The job has ended before, or is not to end so any more; what is given is how it ended."""

    def __init__(self, ended: Finished | None) -> None:
        super().__init__()
        self.ended = ended


async def finish(pool: asyncpg.Pool, job: str, at: datetime) -> Finished | None:
    """See `sluice_puller.store.Files.finish`."""
    ready = await pool.fetchrow(
        """
        SELECT j.request, j.files, j.strict, j.base,
            (j.files = 0 OR EXISTS (SELECT FROM pulls.files f WHERE f.job = $1 AND f.failed IS NULL)) AS some
        FROM pulls.jobs j WHERE j.job = $1 AND j.finished_at IS NULL AND j.cancelled_at IS NULL
            AND j.deleted_at IS NULL AND j.phase = 'loading' AND j.settled = j.files
        """,
        job,
    )
    if ready is None:
        async with pool.acquire() as connection, connection.transaction():
            return (await _end(connection, job, at))[0]
    await resolve(pool, job)
    request = msgspec.json.decode(ready["request"], type=ImportRequest)
    report = _report(request) if ready["some"] else None
    try:
        if ready["strict"]:
            if report is not None:
                await Staging(pool, job, ready["files"]).write([report])
            return await _finish_whole(pool, job, at, request.source, ready["base"])
        if report is not None:
            return await _finish_with(pool, job, at, report)
    except _OverError as over:
        # Cancelled, or ended by somebody else, who has stored everything then.
        return over.ended
    async with pool.acquire() as connection, connection.transaction():
        return (await _end(connection, job, at))[0]


async def _finish_with(pool: asyncpg.Pool, job: str, at: datetime, report: Resource) -> Finished | None:
    found: list[Finished | None] = []

    async def ending(connection: Connection) -> None:
        found.append(await _first_end(connection, job, at))

    await Applier(pool, job=job).apply([report], also=ending)
    return found[-1]


async def _finish_whole(
    pool: asyncpg.Pool, job: str, at: datetime, source: str, base: str | None
) -> Finished | None:
    """Store what was taken aside in one step; if it is not whole and sound, forget it and fail the job."""
    async with pool.acquire() as connection, connection.transaction():
        if await connection.fetchval(_UNSOUND, job):
            if not await hold(connection, job):
                return None
            await connection.execute(
                f"UPDATE pulls.jobs SET failed = $3, finished_at = $2, {RELEASE}"  # noqa: S608
                " WHERE job = $1 AND finished_at IS NULL AND phase = 'loading' AND settled = files",
                job,
                at,
                ItemError.NOT_WHOLE.value,
            )
            await connection.execute(
                "UPDATE pulls.files SET failed = $2 WHERE job = $1 AND failed IS NULL",
                job,
                ItemError.NOT_WHOLE.value,
            )
            await connection.execute("DELETE FROM pulls.staged WHERE job = $1", job)
            return await _ended(connection, job)
    found: list[Finished | None] = []
    staged = Staged(job, base)

    async def ending(connection: Connection, done: dict[int, Written]) -> None:
        found.append(await _first_end(connection, job, at))
        await keep_counts(connection, job, done, staged.stale)

    types = await pool.fetch("SELECT DISTINCT type FROM pulls.staged WHERE job = $1", job)
    writer = WholeWriter(pool, job=job, source=source)
    await writer.write_whole([row["type"] for row in types], staged, ending)
    return found[-1]


def _report(request: ImportRequest) -> Resource | None:
    report = request.report
    return None if report is None else parse(msgspec.json.format(report.encode(), indent=-1))


async def _first_end(connection: Connection, job: str, at: datetime) -> Finished | None:
    ended, first = await _end(connection, job, at)
    if not first:
        raise _OverError(ended)
    return ended


async def _end(connection: Connection, job: str, at: datetime) -> tuple[Finished | None, bool]:
    """End a job in a transaction that is open; give how it ended first, and whether that was now."""
    if not await hold(connection, job):
        return None, False
    first = await connection.fetchval(
        f"""
        UPDATE pulls.jobs SET finished_at = $2, {RELEASE}
        WHERE job = $1 AND finished_at IS NULL AND phase = 'loading' AND settled = files RETURNING true
        """,  # noqa: S608 - built of constants
        job,
        at,
    )
    return await _ended(connection, job), bool(first)


async def _ended(connection: Connection, job: str) -> Finished | None:
    row = await connection.fetchrow(
        """
        SELECT j.finished_at, j.files, count(f.item) AS failed,
            coalesce(j.failed, (array_agg(f.failed ORDER BY f.item))[1]) AS code,
            (array_agg(f.failed_status ORDER BY f.item))[1] AS status, j.failed IS NOT NULL AS abandoned,
            j.strict
        FROM pulls.jobs j LEFT JOIN pulls.files f ON f.job = j.job AND f.failed IS NOT NULL
        WHERE j.job = $1 AND j.finished_at IS NOT NULL GROUP BY j.job
        """,
        job,
    )
    return None if row is None else Finished(*row)


async def hold(connection: Connection, job: str) -> bool:
    """Hold off a job's cancellation and deletion, and other ends, if it is neither cancelled nor deleted."""
    going = await connection.fetchval(
        "SELECT true FROM pulls.jobs"
        " WHERE job = $1 AND cancelled_at IS NULL AND deleted_at IS NULL FOR UPDATE",
        job,
    )
    return bool(going)
