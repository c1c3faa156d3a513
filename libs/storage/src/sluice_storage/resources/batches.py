"""Batches: how everything is written. See the migration that makes `fhir.batches`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import datetime

import asyncpg
from msgspec import Struct

from sluice_storage.resources.tables import Connection


class Batch(Struct, frozen=True, gc=False):
    """A batch that is open: its number, the first place in the order of rows that is its own, its time."""

    number: int
    first_seq: int
    time: datetime

    @property
    def instant(self) -> str:
        """Its time as FHIR writes instants."""
        return self.time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{self.time.microsecond // 1000:03d}Z"


class ConflictError(Exception):
    """Somebody else has written what this batch was to write, or given the batch up: begin a new one."""


class WithdrawnError(Exception):
    """What the job stores has been taken back: it stores nothing any more."""


CONFLICTS = (
    ConflictError,
    asyncpg.UniqueViolationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)
"""What is raised when two write the same: whoever gets it looks again and decides anew."""


@asynccontextmanager
async def batch(
    connection: Connection,
    rows: int,
    *,
    job: str | None = None,
    source: str | None = None,
    now: datetime | None = None,
) -> AsyncGenerator[Batch]:
    """Open a batch of up to `rows` rows, with a transaction for its data that is committed at the end.

    Raises
    ------
    ConflictError
        The batch was given up by others before its data were begun: they took this process for dead.
    WithdrawnError
        The job is withdrawn.
    """
    row = await connection.fetchrow("SELECT * FROM fhir.open_batch($1, $2, $3, $4)", rows, job, source, now)
    if row is None:
        raise RuntimeError("the store gave no batch")
    opened = Batch(row["batch"], row["first_seq"], row["time"])
    try:
        async with connection.transaction():
            held = await connection.fetchrow(
                """
                SELECT b.committed_at IS NULL AND b.abandoned_at IS NULL AS open,
                    EXISTS (SELECT FROM fhir.withdrawn w WHERE w.job = b.job) AS withdrawn
                FROM fhir.batches b WHERE b.batch = $1 FOR UPDATE OF b
                """,
                opened.number,
            )
            if held is not None and held["withdrawn"]:
                raise WithdrawnError
            if held is None or not held["open"]:
                raise ConflictError
            yield opened
            await connection.execute(
                "UPDATE fhir.batches SET committed_at = clock_timestamp() WHERE batch = $1", opened.number
            )
    except BaseException:
        # Nobody has to wait for it then. If this cannot be said, it is found out by others later.
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await connection.execute(
                """
                UPDATE fhir.batches SET abandoned_at = clock_timestamp()
                WHERE batch = $1 AND committed_at IS NULL AND abandoned_at IS NULL
                """,
                opened.number,
            )
        raise


async def last_ended(connection: Connection) -> int:
    """Give a batch up to which all have ended: what others commit from now on is in a later one."""
    return int(
        await connection.fetchval(
            """
            SELECT coalesce(
                (SELECT min(b.batch) - 1 FROM fhir.batches b
                 WHERE b.committed_at IS NULL AND b.abandoned_at IS NULL),
                (SELECT c.batch FROM fhir.clock c)
            )
            """
        )
    )
