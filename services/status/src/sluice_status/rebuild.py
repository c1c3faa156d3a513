"""`python -m sluice_status.rebuild`: build the status tables anew from the log, and compare and repair.

The events are folded into fresh tables, by the very fold that makes the live ones, up to where the live ones
are. Then both are compared while no fold commits, and with `--apply` what the log says takes the place of the
jobs that differ, in one transaction. Jobs whose plan is not on the log any more are left as they are.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import asyncpg
import structlog
import typer

from sluice_contracts import wire
from sluice_contracts.events import JobFinished
from sluice_contracts.topics import JOBS_EVENTS
from sluice_contracts.words import counted
from sluice_status import rebuild_sql as sql
from sluice_status.folding import Folder
from sluice_status.pace import Pace
from sluice_status.store import PostgresLedger
from sluice_storage.pool import open_pool
from sluice_storage.postgres_option import postgres_option
from sluice_streaming.messages import Record
from sluice_streaming.outcomes import Unavailable
from sluice_streaming.tail import KafkaTail, Tail
from sluice_telemetry.logs import configure_logging

log = structlog.get_logger(__name__)

MOST_SHOWN = 20
_DIFFERENT = 1
_AWAY = 75
_LONG_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Difference:
    """A job that is not as the log says: it is not there, columns of its row, and how many of its items."""

    job: str
    missing: bool
    columns: tuple[str, ...]
    items: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a rebuild came to.

    Parameters
    ----------
    known
        Jobs that the log tells whole.
    kept
        Jobs that only the live tables know.
    different
        How many differ.
    shown
        The first of them.
    applied
        Whether they were repaired.
    """

    known: int
    kept: int
    different: int
    shown: tuple[Difference, ...]
    applied: bool


class BusyError(Exception):
    """Another rebuild is under way."""


class Rebuild:
    """One rebuild.

    Parameters
    ----------
    pool
        Connections of the role `sluice_status`; three are used.
    tail
        Reads `jobs.events`.
    """

    def __init__(self, pool: asyncpg.Pool, tail: Tail) -> None:
        self._pool = pool
        self._tail = tail
        self._ledger = PostgresLedger(pool, sql.SCHEMA)
        # No job's state is told: nobody reads what is announced here.
        self._folder = Folder(self._ledger, Pace(float("inf"), lambda: 0.0), lambda: None)
        self._decoder: wire.Decoder[Any] = wire.Decoder(JOBS_EVENTS.messages)
        self._reached: dict[int, int] = {}

    async def run(self, *, apply: bool) -> Comparison:
        """Build, compare, and repair if that is asked for.

        Raises
        ------
        BusyError
            Another rebuild is under way.
        Unavailable
            Kafka or Postgres is away, or the log did not give all that the live tables know.
        """
        async with self._pool.acquire() as connection:
            if not await connection.fetchval(sql.ONE_AT_A_TIME):
                raise BusyError
            try:
                await connection.execute(sql.FRESH, timeout=_LONG_SECONDS)
                await self._fold(await connection.fetch(sql.REACHED, JOBS_EVENTS.name))
                async with connection.transaction():
                    # The rest is little, and meanwhile no fold commits.
                    await self._fold(await connection.fetch(sql.HOLD, JOBS_EVENTS.name))
                    comparison = await _compared(connection, apply=apply)
                await connection.execute(sql.CLEAR, timeout=_LONG_SECONDS)
                return comparison
            finally:
                await self._ledger.close()
                # The lock is the session's, and the connection is given back.
                await connection.execute(sql.NEXT_ONE)

    async def _fold(self, places: Sequence[asyncpg.Record]) -> None:
        """Fold up to where the live tables are; `places` has a partition and an offset each."""
        ends: dict[int, int] = {row["partition"]: row["next_offset"] for row in places}
        new = ends.keys() - self._reached.keys()
        if new:
            self._reached = await self._folder.positions(sorted({*self._reached, *new}))
        for partition, end in sorted(ends.items()):
            async for records in self._tail.stretch(partition, self._reached[partition], end):
                await self._folder.apply(self._folder.prepare(None, records))
                await self._note_ends(records)
                self._reached[partition] = records[-1].offset + 1
                log.info("folded", partition=partition, offset=self._reached[partition], end=end)
            if self._reached[partition] < end and await self._tail.first(partition) < end:
                raise Unavailable("kafka")  # what is missing is there, and did not come

    async def _note_ends(self, records: Sequence[Record]) -> None:
        events = self._decoder.decode_each([record.value or b"" for record in records])
        ended = [event for event in events if isinstance(event, JobFinished)]
        if ended:
            await self._pool.execute(
                sql.END, [it.job for it in ended], [str(it.outcome) for it in ended], [it.at for it in ended]
            )


async def _compared(connection: asyncpg.pool.PoolConnectionProxy, *, apply: bool) -> Comparison:
    await connection.execute(sql.ENDED, timeout=_LONG_SECONDS)
    await connection.execute(sql.DIFFERENT, timeout=_LONG_SECONDS)
    known, kept = await connection.fetchval(sql.KNOWN), await connection.fetchval(sql.KEPT)
    rows = await connection.fetch(sql.SHOW, MOST_SHOWN)
    different = await connection.fetchval(sql.NUMBER)
    if apply and different:
        for statement in sql.SWITCH:
            await connection.execute(statement, timeout=_LONG_SECONDS)
    shown = tuple(Difference(job, missing, tuple(columns), items) for job, missing, columns, items in rows)
    return Comparison(known, kept, different, shown, bool(apply and different))


def report(found: Comparison) -> list[str]:
    """Say what a rebuild came to, in lines."""
    known = counted(found.known, "job is", "jobs are")
    lines = [f"{known} on the log, {found.kept} more only in the tables (left as they are)"]
    for each in found.shown:
        what = ["is not in the tables"] if each.missing else []
        what += [f"differs in {', '.join(each.columns)}"] if each.columns and not each.missing else []
        what += [counted(each.items, "item of it differs", "items of it differ")] if each.items else []
        lines.append(f"  {each.job}: {'; '.join(what)}")
    if found.different > len(found.shown):
        lines.append(f"  and {found.different - len(found.shown)} more")
    if not found.different:
        lines.append("the tables are as the log says")
    elif found.applied:
        lines.append(f"{counted(found.different, 'job')} repaired")
    else:
        differ = counted(found.different, "job differs", "jobs differ")
        lines.append(f"{differ}; --apply repairs what differs")
    return lines


async def _main(postgres: str, kafka: str, *, apply: bool) -> Comparison:
    pool = await open_pool(postgres, size=4, application="sluice-status-rebuild")
    try:
        return await Rebuild(pool, KafkaTail(kafka, JOBS_EVENTS.name)).run(apply=apply)
    finally:
        pool.terminate()


def command(
    postgres: Annotated[str, postgres_option("role sluice_status")] = "",
    kafka: Annotated[
        str, typer.Option(envvar="SLUICE_KAFKA", help="host:port, several separated by commas")
    ] = "127.0.0.1:9092",
    apply: Annotated[bool, typer.Option("--apply", help="repair the jobs that differ")] = False,
) -> None:
    """Build the status tables anew from the log, say what differs, and repair it if asked to.

    Ends with 1 if something differs and was not repaired.
    """
    configure_logging("status-rebuild")
    try:
        found = asyncio.run(_main(postgres, kafka, apply=apply))
    except BusyError:
        print("another rebuild is under way", file=sys.stderr)
        raise typer.Exit(_AWAY) from None
    except (Unavailable, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        what = error.what if isinstance(error, Unavailable) else type(error).__name__
        print(f"the rebuild broke off ({what}); nothing was changed", file=sys.stderr)
        raise typer.Exit(_AWAY) from None
    print("\n".join(report(found)))
    if found.different and not found.applied:
        raise typer.Exit(_DIFFERENT)


if __name__ == "__main__":
    typer.run(command)
