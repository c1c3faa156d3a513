"""The ledger in Postgres: schema `status`, written under its owner's role by this service alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import fields
from functools import partial

import asyncpg

from sluice_status import sql
from sluice_status.batch import Batch, Dead
from sluice_status.columns import COLUMNS, table
from sluice_status.jobs import Ending, Job, Tally
from sluice_status.ledger import Announced, Announcement, Offsets, RefusedError
from sluice_storage.offsets import positions
from sluice_storage.pool import TRANSIENT
from sluice_streaming.outcomes import Fenced, Unavailable

# Errors that another try may not meet: the server is away, or two processes met over the same rows.
_AWAY = (
    *TRANSIENT,
    TimeoutError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
)
_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _REFUSED as error:
        # The server's message may quote a value: only its class goes further.
        raise RefusedError(type(error).__name__) from None
    except _AWAY as error:
        raise Unavailable("postgres") from error


MOST_DEAD = 10_000
"""How many notes about malformed records are kept."""


class PostgresLedger:
    """The ledger over a pool of connections.

    Parameters
    ----------
    pool
        Connections of a role that is a member of `sluice_owner_status`.
    schema
        Where the tables are.
    cluster
        The id of the Kafka that is folded; None: whichever it was before.
    """

    def __init__(self, pool: asyncpg.Pool, schema: str = "status", cluster: str | None = None) -> None:
        self._pool = pool
        self._cluster = cluster
        self._sql = partial(sql.within, schema=schema)
        self._positions = positions(schema)
        self._writer: asyncpg.pool.PoolConnectionProxy | None = None

    async def positions(self, topic: str, partitions: Collection[int]) -> dict[int, int]:
        """See `Ledger.positions`."""
        with _translated():
            rows = await self._pool.fetch(self._positions, topic, sorted(partitions), self._cluster)
        return {row["partition"]: row["next_offset"] for row in rows}

    def transaction(
        self, expected: Offsets, ahead: Offsets
    ) -> AbstractAsyncContextManager[PostgresTransaction]:
        """See `Ledger.transaction`."""
        return self._transaction(expected, ahead)

    @asynccontextmanager
    async def _transaction(self, expected: Offsets, ahead: Offsets) -> AsyncIterator[PostgresTransaction]:
        with _translated():
            async with self._writing() as connection, connection.transaction():
                # The fence comes first: its row locks make a second writer wait, then find other offsets.
                places = sorted(ahead)
                moved = await connection.fetch(
                    self._sql(sql.ADVANCE),
                    [topic for topic, _ in places],
                    [partition for _, partition in places],
                    [expected[place] for place in places],
                    [ahead[place] for place in places],
                )
                if len(moved) != len(places):
                    raise Fenced
                yield PostgresTransaction(connection, self._sql)

    async def close(self) -> None:
        """Close the connection that is kept for transactions."""
        writer, self._writer = self._writer, None
        await self._discard(writer)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        """Give a connection for a transaction, made ready for it.

        The last one that served well is kept: borrowing and preparing one costs as much as a small batch.
        """
        writer, self._writer = self._writer, None
        try:
            if writer is None or writer.is_closed():
                await self._discard(writer)
                writer = await self._pool.acquire()
                await writer.execute(sql.HASTEN)
                await writer.execute(sql.GATHER)
            yield writer
        except BaseException:
            await self._discard(writer)
            raise
        spare, self._writer = self._writer, writer
        await self._discard(spare)

    async def _discard(self, writer: asyncpg.pool.PoolConnectionProxy | None) -> None:
        # Closed, not given back: its settings are for folds alone, and after an error its state is unknown.
        if writer is not None:
            writer.terminate()
            await self._pool.release(writer)

    async def outbox(self, partitions: Collection[int], limit: int) -> list[Announced]:
        """See `Ledger.outbox`."""
        with _translated():
            rows = await self._pool.fetch(self._sql(sql.OUTBOX), sorted(partitions), limit)
        return [Announced(*row) for row in rows]

    async def published(self, announced: Sequence[Announced]) -> None:
        """See `Ledger.published`."""
        ended = [it.job for it in announced if it.type == "JobFinished"]
        with _translated():
            await self._pool.execute(self._sql(sql.PUBLISHED), [it.seq for it in announced], ended)


class PostgresTransaction:
    """See `Transaction`."""

    def __init__(self, connection: asyncpg.pool.PoolConnectionProxy, within: Callable[[str], str]) -> None:
        self._connection = connection
        self._sql = within

    async def lock(self, jobs: Collection[str]) -> dict[str, Job]:
        """See `Transaction.lock`."""
        wanted = sorted(jobs)
        rows = await self._connection.fetch(self._sql(sql.LOCK), wanted)
        while len(rows) < len(wanted):
            rows = await self._connection.fetch(self._sql(sql.LOCK), wanted)
        return {row["job"]: Job(*row) for row in rows}

    async def lift(self, batch: Batch) -> dict[str, Tally]:
        """See `Transaction.lift`."""
        rows = table(batch.jobs)
        if not rows:
            return {}
        # COPY takes a row in a tenth of the time that arrays as arguments take to be encoded.
        await self._connection.copy_records_to_table("told", records=rows, columns=COLUMNS)
        changed = await self._connection.fetch(self._sql(sql.LIFT), list(batch.jobs))
        return {row["job"]: Tally(*row[1:]) for row in changed}

    async def endings(self, jobs: Mapping[str, int]) -> dict[str, Ending]:
        """See `Transaction.endings`."""
        rows = await self._connection.fetch(self._sql(sql.ENDINGS), list(jobs), list(jobs.values()))
        return {row["job"]: Ending(row["ended"], row["at"]) for row in rows}

    async def save(self, jobs: Sequence[Job]) -> None:
        """See `Transaction.save`."""
        names = [field.name for field in fields(Job)]
        columns = ([getattr(job, name) for job in jobs] for name in names)
        await self._connection.execute(self._sql(sql.SAVE), *columns)

    async def announce(self, announcements: Sequence[Announcement]) -> None:
        """See `Transaction.announce`."""
        await self._connection.execute(
            self._sql(sql.ANNOUNCE),
            [it.partition for it in announcements],
            [it.job for it in announcements],
            [it.type for it in announcements],
            [it.body for it in announcements],
            [it.trace for it in announcements],
            any(it.type == "JobFinished" for it in announcements),
        )

    async def bury(self, dead: Sequence[Dead]) -> None:
        """See `Transaction.bury`."""
        await self._connection.execute(
            self._sql(sql.BURY),
            [it.topic for it in dead],
            [it.partition for it in dead],
            [it.offset for it in dead],
            [it.reason for it in dead],
            [it.sha256 for it in dead],
        )
        await self._connection.execute(self._sql(sql.FORGET), MOST_DEAD)
