"""Files' rows in Postgres (`pulls.files`), and the lines of them that could not be kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from datetime import datetime

import asyncpg
import msgspec

from sluice_contracts.imports import ImportRequest, PulledKind
from sluice_puller.postgres_ends import finish, hold
from sluice_puller.postgres_jobs import Connection, available
from sluice_puller.store import Finished, Loaded, Settled, WaitingFile

_COUNTS = tuple(field.name for field in fields(Loaded))
_SETTLED = f"""
    SELECT f.settled_at, f.failed, f.failed_status, {", ".join(f"f.{name}" for name in _COUNTS)},
        CASE WHEN j.settled = j.files THEN j.files END AS last
    FROM pulls.files f JOIN pulls.jobs j USING (job)
    WHERE f.job = $1 AND f.item = $2 AND f.settled_at IS NOT NULL
"""  # noqa: S608 - built of constants


class PostgresFiles:
    """See `sluice_puller.store.Files`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def find(self, job: str, item: int) -> WaitingFile | None:
        """See `Files.find`."""
        with available():
            row = await self._pool.fetchrow(
                """
                SELECT j.request, j.needs_token, j.strict, f.kind, f.type, f.url, f.expected, f.settled_at,
                    (j.cancelled_at IS NOT NULL OR j.deleted_at IS NOT NULL) AS stopped
                FROM pulls.jobs j LEFT JOIN pulls.files f ON f.job = j.job AND f.item = $2
                WHERE j.job = $1
                """,
                job,
                item,
            )
            if row is None or (row["kind"] is None and not row["stopped"]):
                return None
            settled = None if row["settled_at"] is None else await _settled(self._pool, job, item)
        request = row["request"]
        asked = None if request is None else msgspec.json.decode(request, type=ImportRequest)
        return WaitingFile(
            source=None if asked is None else asked.source,
            needs_token=row["needs_token"],
            kind=None if row["kind"] is None else PulledKind(row["kind"]),
            type=row["type"],
            url=row["url"],
            expected=row["expected"],
            base=None if asked is None else asked.base,
            claims=asked is not None and asked.claims,
            submitted=None if asked is None else asked.submitted,
            stopped=row["stopped"],
            strict=row["strict"],
            settled=settled,
        )

    async def stopped(self, job: str) -> bool:
        """See `Files.stopped`."""
        with available():
            going = await self._pool.fetchval(
                "SELECT true FROM pulls.jobs WHERE job = $1 AND cancelled_at IS NULL AND deleted_at IS NULL",
                job,
            )
        return not going

    async def settle(
        self,
        job: str,
        item: int,
        counts: Loaded,
        at: datetime,
        *,
        issues: Mapping[int, str] | None = None,
        failed: str | None = None,
        status: int | None = None,
    ) -> Settled | None:
        """See `Files.settle`."""
        with available():
            async with self._pool.acquire() as connection, connection.transaction():
                # The lock orders the files' ends, and holds off the job's cancellation and deletion.
                if not await hold(connection, job):
                    return None
                values = ", ".join(f"{name} = ${number}" for number, name in enumerate(_COUNTS, 6))
                settling = await connection.fetchval(
                    f"""
                    UPDATE pulls.files SET settled_at = $3, failed = $4, failed_status = $5, url = NULL,
                        {values}
                    WHERE job = $1 AND item = $2 AND settled_at IS NULL RETURNING true
                    """,  # noqa: S608 - built of constants
                    job,
                    item,
                    at,
                    failed,
                    status,
                    *astuple(counts),
                )
                if settling:
                    await connection.execute(
                        "UPDATE pulls.jobs SET settled = settled + 1 WHERE job = $1", job
                    )
                    if issues:
                        await connection.execute(
                            "INSERT INTO pulls.issues (job, item, line, code)"
                            " SELECT $1, $2, * FROM unnest($3::bigint[], $4::text[])",
                            job,
                            item,
                            list(issues),
                            list(issues.values()),
                        )
                return await _settled(connection, job, item)

    async def ended(self, job: str) -> Sequence[tuple[int, WaitingFile]]:
        """See `Files.ended`."""
        with available():
            items = await self._pool.fetch(
                "SELECT item FROM pulls.files WHERE job = $1 AND settled_at IS NOT NULL ORDER BY item", job
            )
            found = [(row["item"], await self.find(job, row["item"])) for row in items]
        return [(item, file) for item, file in found if file is not None]

    async def finish(self, job: str, at: datetime) -> Finished | None:
        """See `Files.finish`."""
        with available():
            return await finish(self._pool, job, at)


async def _settled(connection: Connection | asyncpg.Pool, job: str, item: int) -> Settled | None:
    row = await connection.fetchrow(_SETTLED, job, item)
    if row is None:
        return None
    counts = Loaded(**{name: row[name] for name in _COUNTS})
    return Settled(row["settled_at"], counts, row["failed"], row["failed_status"], row["last"])
