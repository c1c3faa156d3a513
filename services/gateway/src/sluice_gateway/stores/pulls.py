"""Bulk imports as requests see them: one statement for a poll, pages for the files of outcomes."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime

import asyncpg

from sluice_gateway.fhir.pull_store import BadLine, PulledFile, PullRow, Unresolved
from sluice_storage.coalesce import Coalescer
from sluice_storage.resources.model import Range

# A line for each bad line that is listed, each file that failed, each count that is not as announced, and
# each file in which the source tells of problems of its own.
_PROBLEMS = """
    (f.failed IS NOT NULL)::int + (f.failed IS NULL AND f.expected IS NOT NULL AND f.expected <> f.read)::int
    + (f.kind = 'error' AND f.failed IS NULL AND f.read > 0)::int + (f.invalid > i.listed)::int
"""
_POLL = f"""
SELECT k.job::text AS asked, coalesce(s.client, j.client) AS client,
    coalesce(s.subject, j.subject) AS subject,
    coalesce(s.submitted_at, j.submitted_at) AS submitted_at, s.finished_at, s.outcome, j.progress, j.files,
    coalesce(j.settled, 0) AS settled, coalesce(t.lines, 0)::bigint AS lines, t.expected::bigint AS expected,
    (coalesce(t.problems, 0) + (j.failed IS NOT NULL AND j.files IS NOT NULL)::int
        + (SELECT count(*) FROM pulls.unresolved u WHERE u.job = k.job))::bigint AS problems,
    coalesce(j.failed, CASE WHEN s.outcome = 'failed' AND j.files IS NULL THEN 'internal' END) AS failed,
    j.failed_status, j.base, j.transaction_time AS source_time,
    (j.deleted_at IS NOT NULL OR j.cancelled_at IS NOT NULL OR s.cancelled_at IS NOT NULL) AS gone
FROM unnest($1::uuid[]) AS k (job)
LEFT JOIN status.jobs s ON s.job = k.job AND s.kind = 'bulk-import'
LEFT JOIN pulls.jobs j ON j.job = k.job
LEFT JOIN LATERAL (
    SELECT sum(f.read) AS lines, sum(i.listed + {_PROBLEMS}) AS problems,
        CASE WHEN bool_and(f.expected IS NOT NULL) THEN sum(f.expected) END AS expected
    FROM pulls.files f CROSS JOIN LATERAL (
        SELECT CASE WHEN f.invalid > 0
            THEN (SELECT count(*) FROM pulls.issues n WHERE n.job = f.job AND n.item = f.item) ELSE 0
        END AS listed
    ) AS i
    WHERE f.job = j.job
) AS t ON true
"""  # noqa: S608 - built of constants


class PostgresPulls:
    """See `sluice_gateway.fhir.pull_store.PullStore`; reads `pulls.*` and `status.jobs`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._polled = Coalescer(self._read)

    def get(self, job: str) -> Awaitable[PullRow | None]:
        """See `PullStore.get`."""
        return self._polled(job)

    async def _read(self, jobs: Sequence[str]) -> Sequence[PullRow | None]:
        rows = await self._pool.fetch(_POLL, sorted(set(jobs)))
        found = {row["asked"]: row for row in rows}
        return [_row(found[job]) for job in jobs]

    async def files(self, job: str, after: int, limit: int) -> Sequence[PulledFile]:
        """See `PullStore.files`."""
        rows = await self._pool.fetch(
            """
            SELECT f.item, f.kind, f.type, f.expected, f.failed, f.failed_status, f.read, f.created,
                f.updated, f.unchanged, f.stale, f.invalid, f.deleted, f.size, f.nameless,
                CASE WHEN f.invalid > 0 THEN
                    (SELECT count(*) FROM pulls.issues n WHERE n.job = f.job AND n.item = f.item) ELSE 0
                END AS listed
            FROM pulls.files f
            WHERE f.job = $1 AND f.item > $2 AND f.settled_at IS NOT NULL ORDER BY f.item LIMIT $3
            """,
            job,
            after,
            limit,
        )
        return [PulledFile(**dict(row)) for row in rows]

    async def lines(self, job: str, item: int, after: int, limit: int) -> Sequence[BadLine]:
        """See `PullStore.lines`."""
        rows = await self._pool.fetch(
            "SELECT line, code FROM pulls.issues WHERE job = $1 AND item = $2 AND line > $3"
            " ORDER BY line LIMIT $4",
            job,
            item,
            after,
            limit,
        )
        return [BadLine(**dict(row)) for row in rows]

    async def unresolved(self, job: str) -> Sequence[Unresolved]:
        """See `PullStore.unresolved`."""
        rows = await self._pool.fetch(
            "SELECT type, total, ids FROM pulls.unresolved WHERE job = $1 ORDER BY type", job
        )
        return [Unresolved(row["type"], row["total"], tuple(row["ids"])) for row in rows]

    async def patients(self, job: str, after: str, limit: int) -> Sequence[str]:
        """See `PullStore.patients`."""
        rows = await self._pool.fetch(
            "SELECT patient FROM pulls.patients WHERE job = $1 AND patient > $2 ORDER BY patient LIMIT $3",
            job,
            after,
            limit,
        )
        return [row["patient"] for row in rows]

    async def kept(self, job: str) -> Mapping[str, Sequence[Range]]:
        """See `PullStore.kept`."""
        rows = await self._pool.fetch("SELECT type, firsts, lasts FROM pulls.kept WHERE job = $1", job)
        found: dict[str, list[Range]] = {}
        for row in rows:
            found.setdefault(row["type"], []).extend(zip(row["firsts"], row["lasts"], strict=True))
        return found

    async def withdraw(self, job: str, at: datetime) -> bool:
        """See `PullStore.withdraw`."""
        return bool(await self._pool.fetchval("SELECT pulls.withdraw($1, $2)", job, at))


def _row(row: asyncpg.Record) -> PullRow | None:
    if row["client"] is None and not row["gone"]:
        return None
    values = {name: value for name, value in row.items() if name not in ("asked", "client", "subject")}
    return PullRow(client=row["client"] or "", subject=row["subject"] or "", **values)
