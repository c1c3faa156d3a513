"""Jobs of every kind, as the status service has folded them."""

from __future__ import annotations

from collections.abc import Collection

import asyncpg

from sluice_contracts.progress import ItemRank
from sluice_gateway.all_jobs import AnyItemRow, AnyJobRow, Owner
from sluice_gateway.models.jobs import AnyJobQuery
from sluice_gateway.paging import Window

_JOB = """
    s.job, s.kind, s.client, s.subject, s.state, s.outcome, s.items, s.attached, s.skipped, s.failed,
    s.cancelled, s.submitted_at, s.started_at, s.finished_at, s.first_fetched_at, s.last_fetched_at,
    s.first_scraped_at, s.last_scraped_at, s.first_attached_at, s.last_attached_at, p.begun_at,
    (SELECT i.updated_at FROM status.job_items i
        WHERE p.files IS NOT NULL AND i.job = s.job AND i.item = p.files AND i.rank = 70) AS settled_at
"""
_FROM = "FROM status.jobs s LEFT JOIN pulls.jobs p ON p.job = s.job"
# A row may be there before its job's plan was read; then nobody's it is. What was deleted, or expired, is not
# there for anyone.
_THERE = """
    s.client IS NOT NULL AND ($1::text IS NULL OR (s.client = $1 AND s.subject = $2))
    AND NOT EXISTS (SELECT FROM exports.jobs e WHERE e.job = s.job
        AND (e.deleted_at IS NOT NULL OR s.finished_at + e.keep <= now()))
    AND NOT EXISTS (SELECT FROM pulls.jobs p WHERE p.job = s.job AND p.deleted_at IS NOT NULL)
"""
_WITHDRAWN = """
SELECT EXISTS (SELECT FROM exports.jobs e LEFT JOIN status.jobs s USING (job) WHERE e.job = $1
        AND (e.deleted_at IS NOT NULL OR s.finished_at + e.keep <= now()))
    OR EXISTS (SELECT FROM pulls.jobs p WHERE p.job = $1 AND p.deleted_at IS NOT NULL)
"""
# Each job by itself: whether its items have ended is looked up among its own then.
_WAITING = f"""
SELECT asked.job::text, it.source FROM unnest($1::uuid[]) AS asked (job) CROSS JOIN LATERAL (
    SELECT i.source FROM documents.items i
    WHERE i.job = asked.job AND NOT EXISTS (SELECT FROM status.job_items s
        WHERE s.job = i.job AND s.item = i.item AND s.rank >= {ItemRank.CANCELLED:d})
    UNION SELECT convert_from(p.request, 'UTF8')::json ->> 'source' FROM pulls.jobs p
    WHERE p.job = asked.job AND p.request IS NOT NULL
) it WHERE $2::text[] IS NULL OR it.source = ANY($2)
"""  # noqa: S608 - built of constants
_WANTED = """
    AND ($3::text IS NULL OR s.kind = $3) AND ($4::text IS NULL OR s.state = $4)
    AND ($5::text IS NULL OR s.outcome = $5) AND ($6::timestamptz IS NULL OR s.submitted_at >= $6)
    AND ($7::text IS NULL OR starts_with(s.job::text, $7) OR starts_with(s.client, $7))
"""


class PostgresAllJobs:
    """See `sluice_gateway.all_jobs.AnyJobStore`; reads `status.*`, `exports.jobs` and `pulls.jobs`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def some(self, owner: Owner | None, jobs: Collection[str]) -> list[AnyJobRow]:
        """See `AnyJobStore.some`."""
        client, subject = owner or (None, None)
        rows = await self._pool.fetch(
            f"SELECT {_JOB} {_FROM} WHERE {_THERE} AND s.job = ANY($3::uuid[])",
            client,
            subject,
            list(jobs),
        )
        return [_row(row) for row in rows]

    async def withdrawn(self, job: str) -> bool:
        """See `AnyJobStore.withdrawn`."""
        found: bool = await self._pool.fetchval(_WITHDRAWN, job)
        return found

    async def page(
        self, owner: Owner | None, query: AnyJobQuery, window: Window
    ) -> tuple[list[AnyJobRow], int]:
        """See `AnyJobStore.page`."""
        client, subject = owner or (None, None)
        wanted = (client, subject, query.kind, query.state, query.outcome, query.since, query.q)
        rows = await self._pool.fetch(
            f"""
            SELECT {_JOB} {_FROM} WHERE {_THERE} {_WANTED}
            ORDER BY s.submitted_at DESC, s.job LIMIT $8 OFFSET $9
            """,
            *wanted,
            window.limit,
            window.offset,
        )
        total = await self._pool.fetchval(
            f"SELECT count(*) FROM status.jobs s WHERE {_THERE} {_WANTED}",  # noqa: S608
            *wanted,
        )
        return [_row(row) for row in rows], total

    async def waiting(
        self, jobs: Collection[str], sources: Collection[str] | None = None
    ) -> list[tuple[str, str]]:
        """See `sluice_gateway.holding_up.Waiting`."""
        among = None if sources is None else list(sources)
        rows = await self._pool.fetch(_WAITING, list(jobs), among)
        return [(row["job"], row["source"]) for row in rows]

    async def items(self, job: str, rank: int | None, window: Window) -> tuple[list[AnyItemRow], int]:
        """See `AnyJobStore.items`."""
        rows = await self._pool.fetch(
            """
            SELECT item, rank, stage, code, attempt, source_status, file, updated_at FROM status.job_items
            WHERE job = $1 AND ($2::smallint IS NULL OR rank = $2) ORDER BY item LIMIT $3 OFFSET $4
            """,
            job,
            rank,
            window.limit,
            window.offset,
        )
        total = await self._pool.fetchval(
            "SELECT count(*) FROM status.job_items WHERE job = $1 AND ($2::smallint IS NULL OR rank = $2)",
            job,
            rank,
        )
        return [AnyItemRow(**dict(row)) for row in rows], total


def _row(row: asyncpg.Record) -> AnyJobRow:
    return AnyJobRow(**{**dict(row), "job": str(row["job"])})
