"""The status tables are what the log says: built anew they are the same, and what was damaged is repaired."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from sluice_contracts.events import DocumentFetched, JobFinished, JobOutcome
from sluice_contracts.topics import JOBS_EVENTS
from sluice_stack.stack import Stack
from sluice_status.folding import Folder
from sluice_status.jobs import FINISHED
from sluice_status.pace import Pace
from sluice_status.rebuild import BusyError, Comparison, Difference, Rebuild, report
from sluice_status.store import PostgresLedger
from sluice_storage.pool import open_pool
from sluice_streaming.memory import MemoryBroker
from sluice_streaming.messages import Message, Partition
from sluice_streaming.tail import KafkaTail, MemoryTail
from support.histories import BEGAN, attached, failed, job_number, planned, whole_job
from support.portal import new_portal
from support.stack import Database

JOB, OTHER, OLD = job_number(0), job_number(1), job_number(2)


class Live:
    """The live tables, folded from a log in memory."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.broker = MemoryBroker(partitions=1)
        self.ledger = PostgresLedger(pool)
        self.folder = Folder(self.ledger, Pace(1e9, lambda: 0.0), lambda: None)

    async def happen(self, *events: Any) -> None:
        """Write events to the log and fold them, one by one."""
        producer = self.broker.producer()
        await producer.start()
        places = await self.folder.positions([0])
        await producer.publish([Message(JOBS_EVENTS, each.job, each) for each in events])
        for record in self.broker.log(Partition(JOBS_EVENTS.name, 0))[places[0] :]:
            await self.folder.apply(self.folder.prepare(None, [record]))

    async def rebuilt(self, *, apply: bool = False) -> Comparison:
        """Rebuild."""
        return await Rebuild(self.pool, MemoryTail(self.broker, JOBS_EVENTS.name)).run(apply=apply)

    async def rows(self) -> Sequence[Any]:
        """Give all there is."""
        jobs = await self.pool.fetch("SELECT * FROM status.jobs ORDER BY job")
        return [*jobs, *await self.pool.fetch("SELECT * FROM status.job_items ORDER BY job, item")]


@pytest.fixture
async def live(database: Database) -> AsyncIterator[Live]:
    pool = await open_pool(database.dsn_for("status"), size=6, wait=10)
    tables = Live(pool)
    yield tables
    await tables.ledger.close()
    await pool.close()


async def test_tables_that_were_folded_from_the_log_are_found_to_be_as_it_says(live: Live) -> None:
    await live.happen(*whole_job(JOB, 3), planned(OTHER, 2), attached(OTHER, 0))
    found = await live.rebuilt()
    assert (found.known, found.kept, found.different, found.shown) == (2, 0, 0, ())
    assert report(found)[-1] == "the tables are as the log says"


async def test_how_a_job_ended_stays_as_it_was_announced_though_an_item_was_mended_later(live: Live) -> None:
    end = JobFinished(
        job=JOB,
        at=BEGAN + 9,
        kind=planned(JOB, 1).kind,
        outcome=JobOutcome.FAILED,
        items=1,
        attached=0,
        skipped=0,
        failed=1,
        cancelled=0,
    )
    await live.happen(planned(JOB, 1), failed(JOB, 0), end, attached(JOB, 0, at=BEGAN + 60))
    assert await live.pool.fetchval("SELECT outcome FROM status.jobs") == "failed"
    assert (await live.rebuilt()).different == 0


async def test_what_was_damaged_is_shown_and_repaired_and_the_rest_stays(live: Live) -> None:
    await live.happen(*whole_job(JOB, 3), *whole_job(OTHER, 2))
    before = await live.rows()
    await live.pool.execute("UPDATE status.jobs SET attached = 0, client = 'x' WHERE job = $1", JOB)
    await live.pool.execute("UPDATE status.job_items SET rank = 20 WHERE job = $1 AND item < 2", JOB)
    await live.pool.execute("DELETE FROM status.job_items WHERE job = $1", OTHER)
    await live.pool.execute("DELETE FROM status.jobs WHERE job = $1", OTHER)
    damaged = await live.rows()
    found = await live.rebuilt()
    assert found.shown == (
        Difference(JOB, False, ("client", "attached"), 2),
        Difference(OTHER, True, found.shown[1].columns, 2),
    )
    assert await live.rows() == damaged
    assert (await live.rebuilt(apply=True)).applied
    assert (await live.rebuilt()).different == 0
    kept = ("job", "item", "rank", "state", "outcome", "client", "attached", "updated_at", "finished_at")
    trimmed = [
        [{name: row.get(name) for name in kept} for row in rows] for rows in (before, await live.rows())
    ]
    assert trimmed[0] == trimmed[1]


async def test_a_job_of_which_the_log_does_not_tell_the_beginning_is_left_alone(live: Live) -> None:
    await live.happen(planned(JOB, 1), DocumentFetched(job=OLD, at=BEGAN, item=0, size=3))
    await live.pool.execute("UPDATE status.jobs SET kind = 'document-import' WHERE job = $1", OLD)
    found = await live.rebuilt(apply=True)
    assert (found.known, found.kept, found.different) == (1, 1, 0)
    assert await live.pool.fetchval("SELECT kind FROM status.jobs WHERE job = $1", OLD) == "document-import"


async def test_an_end_that_was_lost_before_it_was_announced_is_announced(live: Live) -> None:
    await live.happen(*whole_job(JOB, 1))
    await live.pool.execute("TRUNCATE status.outbox")
    await live.pool.execute(
        "UPDATE status.jobs SET state = 'RUNNING', outcome = NULL, finished_at = NULL, attached = 0"
    )
    assert (await live.rebuilt(apply=True)).different == 1
    assert await live.pool.fetchval("SELECT state FROM status.jobs") == FINISHED
    assert [it.type for it in await live.ledger.outbox([0], 10)] == ["JobFinished"]


async def test_two_rebuilds_do_not_meet(live: Live) -> None:
    async with live.pool.acquire() as other:
        await other.execute("SELECT pg_advisory_lock(hashtext('sluice status rebuild'))")
        with pytest.raises(BusyError):
            await live.rebuilt()
        await other.execute("SELECT pg_advisory_unlock_all()")


def command(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line for a stack."""
    sluice = Path(sys.executable).with_name("sluice")
    line = [str(sluice), *arguments, "--home", str(stack.layout.home.folder)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


async def test_in_a_whole_stack_the_tables_are_as_the_log_says_while_the_service_runs(stack: Stack) -> None:
    async with new_portal(stack, "rebuilt") as portal:
        base = f"{stack.layout.source_url}/r4/fhir/DocumentReference"
        names = [*(f"bench-{number:06d}" for number in range(40)), "absent-1"]
        job = await portal.submit([f"{base}/{name}" for name in names])
        await portal.finished([job])
        pool = await open_pool(stack.dsn("sluice_status"), size=6, wait=10)
        try:
            rebuild = Rebuild(pool, KafkaTail(stack.addresses.kafka, JOBS_EVENTS.name))
            found = await rebuild.run(apply=False)
            assert (found.different, found.known > 0) == (0, True), report(found)
            await pool.execute("DELETE FROM status.job_items WHERE job = $1 AND item = 7", job)
            mended = await Rebuild(pool, KafkaTail(stack.addresses.kafka, JOBS_EVENTS.name)).run(apply=True)
            assert mended.shown == (Difference(job, False, (), 1),)
        finally:
            await pool.close()
        told = await asyncio.to_thread(command, stack, "status", "rebuild")
        assert (told.returncode, told.stdout.splitlines()[-1]) == (0, "the tables are as the log says"), told
        ended = await portal.job(job)
    assert (ended["counts"]["attached"], ended["counts"]["failed"]) == (40, 1)
    assert ended["result"][7]["error"] is None
