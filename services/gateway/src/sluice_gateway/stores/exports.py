"""Exports as requests see them: one statement for a poll, one for a file, one to be admitted."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime

import asyncpg
import msgspec

from sluice_contracts.exports import ExportAccess, ExportRequest, FileKind
from sluice_gateway.fhir.export_store import Admission, ExportRow, FileRow
from sluice_storage.coalesce import Coalescer

_HEAD = """
    coalesce(s.client, j.client) AS client, coalesce(s.subject, j.subject) AS subject, j.request, j.access,
    j.transaction_time, coalesce(j.parts, s.items) AS parts, j.planned_at IS NOT NULL AS planned, j.sealed,
    s.outcome, s.finished_at, s.finished_at + j.keep AS expires_at,
    coalesce(s.submitted_at, j.submitted_at) AS submitted_at,
    (j.deleted_at IS NOT NULL OR j.cancelled_at IS NOT NULL OR s.cancelled_at IS NOT NULL) AS gone
"""
_JOIN = """
    LEFT JOIN status.jobs s ON s.job = k.job AND s.kind = 'bulk-export'
    LEFT JOIN exports.jobs j ON j.job = k.job
"""
_FILE = "f.part, f.n, f.kind, f.type, f.count, f.size, f.sha256, f.continues, f.key, f.encrypted"
_request = msgspec.json.Decoder(ExportRequest).decode
_access = msgspec.json.Decoder(ExportAccess).decode


class PostgresExports:
    """See `sluice_gateway.fhir.export_store.ExportStore`; reads `exports.*` and `status.jobs`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        # Thousands may poll at once; a poll that is alone waits for nobody.
        self._polled = Coalescer(self._read)

    def get(self, job: str) -> Awaitable[ExportRow | None]:
        """See `ExportStore.get`."""
        return self._polled(job)

    async def _read(self, jobs: Sequence[str]) -> Sequence[ExportRow | None]:
        rows = await self._pool.fetch(
            f"SELECT k.job::text AS asked, {_HEAD} FROM unnest($1::uuid[]) AS k (job) {_JOIN}",  # noqa: S608
            sorted(set(jobs)),
        )
        found = {row["asked"]: row for row in rows}
        return [_row(found[job]) for job in jobs]

    async def files(self, job: str, start: int, end: int | None) -> Sequence[FileRow]:
        """See `ExportStore.files`."""
        rows = await self._pool.fetch(
            f"""
            SELECT {_FILE} FROM exports.files f JOIN exports.parts p USING (job, part)
            WHERE f.job = $1 AND p.place >= $2 AND ($3::int IS NULL OR p.place < $3)
            ORDER BY p.place, f.n
            """,  # noqa: S608
            job,
            start,
            end,
        )
        return [_file(row) for row in rows]

    async def file(self, job: str, part: int, n: int) -> tuple[ExportRow | None, FileRow | None]:
        """See `ExportStore.file`."""
        row = await self._pool.fetchrow(
            f"""
            SELECT {_HEAD}, {_FILE}, j.data_key FROM (SELECT $1::uuid AS job) k {_JOIN}
            LEFT JOIN exports.files f ON f.job = j.job AND f.part = $2 AND f.n = $3
            """,  # noqa: S608
            job,
            part,
            n,
        )
        if row is None:
            return None, None
        return _row(row), None if row["part"] is None else _file(row, row["data_key"])

    async def admit(
        self, admission: Admission, at: datetime, *, most: int, once: bool
    ) -> tuple[bool, str | None]:
        """See `ExportStore.admit`."""
        row = await self._pool.fetchrow(
            "SELECT admitted, twin::text FROM gateway.admit_export($1, $2, $3, $4, $5, $6, $7)",
            admission.job,
            admission.client,
            admission.subject,
            admission.request,
            at,
            most,
            once,
        )
        assert row is not None  # noqa: S101 - a function that returns no set gives one row
        return row["admitted"], row["twin"]

    async def dismiss(self, job: str) -> None:
        """See `ExportStore.dismiss`."""
        await self._pool.execute("DELETE FROM gateway.exports WHERE job = $1", job)

    async def withdraw(self, job: str, at: datetime) -> bool:
        """See `ExportStore.withdraw`."""
        return bool(await self._pool.fetchval("SELECT exports.withdraw($1, 'deleted', $2)", job, at))

    async def forget(self, at: datetime) -> None:
        """Forget what was kept of exports that are gone."""
        await self._pool.execute("SELECT gateway.forget_exports($1)", at)


def _row(row: asyncpg.Record) -> ExportRow | None:
    if row["client"] is None and not row["gone"]:
        return None
    return ExportRow(
        client=row["client"] or "",
        subject=row["subject"] or "",
        request=None if row["request"] is None else _request(row["request"]),
        access=None if row["access"] is None else _access(row["access"]),
        transaction_time=row["transaction_time"],
        parts=row["parts"] or 0,
        planned=row["planned"],
        sealed=row["sealed"] or 0,
        outcome=row["outcome"],
        finished_at=row["finished_at"],
        expires_at=row["expires_at"],
        submitted_at=row["submitted_at"],
        gone=row["gone"],
    )


def _file(row: asyncpg.Record, data_key: bytes | None = None) -> FileRow:
    return FileRow(
        part=row["part"],
        n=row["n"],
        kind=FileKind(row["kind"]),
        type=row["type"],
        count=row["count"],
        size=row["size"],
        sha256=bytes(row["sha256"]),
        continues=row["continues"],
        key=row["key"],
        encrypted=row["encrypted"],
        data_key=data_key,
    )
