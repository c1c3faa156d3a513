"""Bulk submissions in Postgres (`gateway.submissions`), and what has become of their imports."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import uuid4

import asyncpg
import msgspec

from sluice_contracts.commands import StartBulkImport
from sluice_gateway.fhir.submission_declared import SubmissionStatus
from sluice_gateway.fhir.submission_parameters import SubmittedManifest, Submitter
from sluice_gateway.fhir.submission_store import ManifestRow, OpenSubmission, SubmissionRow
from sluice_storage.audit.acting import asked

Connection = asyncpg.pool.PoolConnectionProxy

_OF = "client = $1 AND subject = $2 AND system = $3 AND submitter = $4 AND name = $5"
_SUBMISSION = """
    submission::text AS id, client, subject, name, status, created_at, ended_at, asked_at IS NOT NULL AS asked
"""
_MANIFESTS = """
    SELECT m.number, m.url, m.base, m.replaces, m.job::text, m.request AS start, m.replaced_at,
        j.removed_at IS NOT NULL AS removed
    FROM gateway.submission_manifests m LEFT JOIN pulls.jobs j USING (job)
    WHERE m.submission = $1 ORDER BY m.number
"""


class _Open:
    """See `OpenSubmission`."""

    def __init__(self, connection: Connection, row: SubmissionRow) -> None:
        self._connection = connection
        self.row = row

    async def add(self, manifest: SubmittedManifest, replaces: int | None, start: StartBulkImport) -> None:
        await self._connection.execute(
            "INSERT INTO gateway.submission_manifests (submission, number, url, base, replaces, job, request)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            self.row.id,
            len(self.row.manifests) + 1,
            manifest.url,
            manifest.base,
            replaces,
            start.job,
            msgspec.json.encode(start),
        )

    async def discard(self, number: int, at: datetime) -> None:
        await asked(self._connection)
        await self._connection.execute(
            "UPDATE gateway.submission_manifests SET replaced_at = coalesce(replaced_at, $3)"
            " WHERE submission = $1 AND number = $2",
            self.row.id,
            number,
            at,
        )
        await self._connection.execute(
            "SELECT pulls.discard(job, $3) FROM gateway.submission_manifests"
            " WHERE submission = $1 AND number = $2",
            self.row.id,
            number,
            at,
        )

    async def end(self, status: SubmissionStatus, at: datetime) -> None:
        await self._connection.execute(
            "UPDATE gateway.submissions SET status = $2, ended_at = $3 WHERE submission = $1",
            self.row.id,
            status.value,
            at,
        )


class PostgresSubmissions:
    """See `sluice_gateway.fhir.submission_store.SubmissionStore`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def open(
        self, client: str, subject: str, submitter: Submitter, at: datetime
    ) -> AsyncGenerator[OpenSubmission]:
        """See `SubmissionStore.open`."""
        key = (client, subject, submitter.system, submitter.value, submitter.name)
        async with self._pool.acquire() as connection, connection.transaction():
            # Found and locked at once, so that it cannot be forgotten in between.
            (row,) = await connection.fetch(
                f"""
                INSERT INTO gateway.submissions AS s
                    (client, subject, system, submitter, name, submission, created_at)
                VALUES ($1, $2, $3, $4, $5, $6, $7)
                ON CONFLICT (client, subject, system, submitter, name) DO UPDATE SET name = s.name
                RETURNING {_SUBMISSION}
                """,  # noqa: S608 - built of constants
                *key,
                str(uuid4()),
                at,
            )
            yield _Open(connection, await _whole(connection, row))

    async def ask(self, client: str, subject: str, submitter: Submitter, at: datetime) -> str | None:
        """See `SubmissionStore.ask`."""
        found: str | None = await self._pool.fetchval(
            f"UPDATE gateway.submissions SET asked_at = $6 WHERE {_OF} RETURNING submission::text",  # noqa: S608
            client,
            subject,
            submitter.system,
            submitter.value,
            submitter.name,
            at,
        )
        return found

    async def get(self, submission: str) -> SubmissionRow | None:
        """See `SubmissionStore.get`."""
        async with self._pool.acquire() as connection:
            row = await connection.fetchrow(
                f"SELECT {_SUBMISSION} FROM gateway.submissions WHERE submission = $1",  # noqa: S608
                submission,
            )
            return None if row is None else await _whole(connection, row)

    async def forget(self, submission: str) -> None:
        """See `SubmissionStore.forget`."""
        await self._pool.execute(
            "UPDATE gateway.submissions SET asked_at = NULL WHERE submission = $1", submission
        )

    async def published(self, jobs: Sequence[str]) -> None:
        """See `SubmissionStore.published`."""
        await self._pool.execute(
            "UPDATE gateway.submission_manifests SET request = NULL WHERE job = ANY($1::uuid[])", list(jobs)
        )


async def _whole(connection: Connection, row: asyncpg.Record) -> SubmissionRow:
    values = dict(row)
    manifests = [_manifest(each) for each in await connection.fetch(_MANIFESTS, values["id"])]
    return SubmissionRow(**{**values, "status": SubmissionStatus(values["status"]), "manifests": manifests})


def _manifest(row: asyncpg.Record) -> ManifestRow:
    values = dict(row)
    start = values.pop("start")
    decoded = None if start is None else msgspec.json.decode(start, type=StartBulkImport)
    return ManifestRow(**values, start=decoded)
