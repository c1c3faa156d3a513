"""Document imports as a poll sees them: the status service's rows joined with what the fetcher planned."""

from __future__ import annotations

import asyncpg
import msgspec

from sluice_contracts.commands import ConflictResolution, ImportItem
from sluice_contracts.progress import ItemRank
from sluice_gateway.imports import ItemRow, JobRow, Rerun

_JOB = (
    "job, state, outcome, items, attached, skipped, failed, cancelled, submitted_at, started_at, finished_at"
)


def _row(row: asyncpg.Record) -> JobRow:
    return JobRow(**{**dict(row), "job": str(row["job"])})


class PostgresImports:
    """Reads `status.jobs`, `status.job_items`, `documents.*` and `files.imports`; writes nothing."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def get(self, client: str, subject: str, job: str) -> JobRow | None:
        """Give the owner's job, None if there is no such row of theirs (yet)."""
        row = await self._pool.fetchrow(
            f"SELECT {_JOB} FROM status.jobs"  # noqa: S608
            " WHERE job = $1 AND client = $2 AND subject = $3 AND kind = 'document-import'",
            job,
            client,
            subject,
        )
        return None if row is None else _row(row)

    async def page(self, client: str, subject: str, limit: int, offset: int) -> tuple[list[JobRow], int]:
        """Give a page of the owner's jobs, newest first, and how many there are."""
        rows = await self._pool.fetch(
            f"""
            SELECT {_JOB} FROM status.jobs
            WHERE client = $1 AND subject = $2 AND kind = 'document-import'
            ORDER BY submitted_at DESC, job LIMIT $3 OFFSET $4
            """,  # noqa: S608
            client,
            subject,
            limit,
            offset,
        )
        total = await self._pool.fetchval(
            "SELECT count(*) FROM status.jobs"
            " WHERE client = $1 AND subject = $2 AND kind = 'document-import'",
            client,
            subject,
        )
        return [_row(row) for row in rows], total

    async def items(self, job: str, limit: int, offset: int) -> list[ItemRow]:
        """Give a page of a job's items in the order of the request, with what is known of each."""
        rows = await self._pool.fetch(
            """
            SELECT i.item, i.reference, s.rank, s.code, s.source_status, s.file,
                coalesce(made.warnings, '{}') AS warnings, coalesce(done.others, 0) AS others,
                done.version
            FROM documents.items i LEFT JOIN status.job_items s USING (job, item)
            LEFT JOIN documents.scraped made USING (job, item) LEFT JOIN files.imports done USING (job, item)
            WHERE i.job = $1 ORDER BY i.item LIMIT $2 OFFSET $3
            """,
            job,
            limit,
            offset,
        )
        return [ItemRow(**dict(row)) for row in rows]

    async def failed(self, job: str) -> Rerun | None:
        """Give what it takes to run a job's failed and cancelled items again, None before it is planned."""
        head = await self._pool.fetchrow(
            "SELECT conflict_resolution, tags FROM documents.jobs WHERE job = $1", job
        )
        if head is None:
            return None
        rows = await self._pool.fetch(
            """
            SELECT i.reference, i.source, i.project, i.folder, i.name, i.metadata
            FROM documents.items i LEFT JOIN status.job_items s USING (job, item)
            WHERE i.job = $1 AND (s.rank IS NULL OR s.rank < $2) ORDER BY i.item
            """,
            job,
            int(ItemRank.SKIPPED),
        )
        return Rerun(
            conflict_resolution=ConflictResolution(head["conflict_resolution"]),
            tags=tuple(head["tags"]),
            items=tuple(
                ImportItem(
                    reference=row["reference"],
                    source=row["source"],
                    project=row["project"],
                    folder=row["folder"],
                    name=row["name"],
                    metadata=None if row["metadata"] is None else msgspec.json.decode(row["metadata"]),
                )
                for row in rows
            ),
        )
