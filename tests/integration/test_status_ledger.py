"""The ledger in Postgres and the one in memory keep the same rules: one suite for both."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice_contracts.events import JobCancelled
from sluice_status.folding import Folder
from sluice_status.jobs import FINISHED, Job
from sluice_status.ladder import ItemRow
from sluice_status.ledger import Announcement
from sluice_status.pace import Pace
from sluice_status.store import PostgresLedger
from sluice_streaming.outcomes import Fenced, Unavailable
from support.histories import BEGAN, attached, failed, job_number, lawless, planned, told_again, whole_job
from support.stack import Database
from support.status_memory import FakeRecord, MemoryLedger, records_of, spans

JOB = job_number(0)
OTHER = job_number(1)
Rows = tuple[dict[str, Job], dict[tuple[str, int], ItemRow]]

_JOBS = """
SELECT job::text, kind, client, subject, state, outcome, items, attached, skipped, failed, cancelled,
    extract(epoch FROM submitted_at)::float8, extract(epoch FROM started_at)::float8,
    extract(epoch FROM cancelled_at)::float8, extract(epoch FROM finished_at)::float8,
    extract(epoch FROM first_fetched_at)::float8, extract(epoch FROM last_fetched_at)::float8,
    extract(epoch FROM first_scraped_at)::float8, extract(epoch FROM last_scraped_at)::float8,
    extract(epoch FROM first_attached_at)::float8, extract(epoch FROM last_attached_at)::float8
FROM status.jobs
"""
_ITEMS = """
SELECT job::text, item, rank, extract(epoch FROM updated_at)::float8, stage, code, file, file_outcome,
    attempt, source_status, size
FROM status.job_items
"""


class Observed(PostgresLedger):
    """The ledger in Postgres with what a test looks at."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool)
        self.pool = pool

    async def rows(self) -> Rows:
        jobs = [Job(*row) for row in await self.pool.fetch(_JOBS)]
        items = await self.pool.fetch(_ITEMS)
        return {it.job: it for it in jobs}, {(row[0], row[1]): ItemRow(*row[2:]) for row in items}


@pytest.fixture
async def postgres_ledger(database: Database) -> AsyncIterator[Observed]:
    pool = await asyncpg.create_pool(database.dsn_for("status"), min_size=1, max_size=4)
    ledger = Observed(pool)
    yield ledger
    await ledger.close()
    await pool.close()


@pytest.fixture(params=["memory", "postgres"])
def ledger(request: pytest.FixtureRequest) -> MemoryLedger | Observed:
    if request.param == "memory":
        return MemoryLedger()
    found: Observed = request.getfixturevalue("postgres_ledger")
    return found


def folder_of(ledger: Any, interval: float = 1e9) -> Folder:
    return Folder(ledger, Pace(interval, lambda: 0.0), lambda: None)


async def fold(events: Sequence[Any], sizes: Sequence[int], ledger: Any) -> None:
    folder = folder_of(ledger)
    positions = await folder.positions([0])
    for span in spans(records_of(events, positions[0]), itertools.cycle(sizes)):
        await folder.apply(folder.prepare(None, span))


async def test_a_job_runs_its_course(ledger: Any) -> None:
    await fold([*whole_job(JOB, 3), planned(OTHER, 2), failed(OTHER, 1)], [4], ledger)
    jobs, items = await ledger.rows()
    assert jobs[JOB] == Job(
        JOB,
        "document-import",
        "portal",
        "ann",
        FINISHED,
        "completed",
        items=3,
        attached=3,
        submitted_at=BEGAN - 1,
        started_at=BEGAN,
        finished_at=BEGAN + 5,
        first_fetched_at=BEGAN + 1,
        last_fetched_at=BEGAN + 1,
        first_scraped_at=BEGAN + 2,
        last_scraped_at=BEGAN + 2,
        first_attached_at=BEGAN + 3,
        last_attached_at=BEGAN + 5,
    )
    assert (jobs[OTHER].state, jobs[OTHER].failed) == ("RUNNING", 1)
    assert items[JOB, 2] == ItemRow(70, BEGAN + 5, file=f"{2:024x}", file_outcome="created", size=20_480)
    assert items[OTHER, 1] == ItemRow(
        50, BEGAN + 9, stage="fetch", code="document_not_found", source_status=404
    )


async def test_cancelled_items_have_rows_also_those_never_begun(ledger: Any) -> None:
    await fold([planned(JOB, 3), attached(JOB, 1), JobCancelled(job=JOB, at=BEGAN + 4)], [9], ledger)
    _, items = await ledger.rows()
    assert [items[JOB, n].rank for n in range(3)] == [40, 70, 40]


async def test_positions_begin_at_nothing_and_follow_what_is_folded(ledger: Any) -> None:
    folder = folder_of(ledger)
    assert await folder.positions([0, 5]) == {0: 0, 5: 0}
    await folder.apply(folder.prepare(None, records_of([planned(JOB, 1), b"{"], start=7, partition=5)))
    assert await folder_of(ledger).positions([0, 5]) == {0: 0, 5: 9}


async def test_a_log_of_another_kafka_is_folded_from_its_beginning(postgres_ledger: Observed) -> None:
    pool, topic = postgres_ledger.pool, "jobs.events"
    async with postgres_ledger.transaction(await reached(postgres_ledger, [0, 1]), {(topic, 0): 7}):
        pass
    ours, other = PostgresLedger(pool, cluster="one"), PostgresLedger(pool, cluster="two")
    assert await ours.positions(topic, [0, 1]) == {0: 7, 1: 0}, "what was kept before is of the one in use"
    assert await ours.positions(topic, [0, 1]) == {0: 7, 1: 0}
    assert await other.positions(topic, [0]) == {0: 0}
    assert await other.positions(topic, [0, 2]) == {0: 0, 2: 0}


async def reached(ledger: PostgresLedger, partitions: list[int]) -> dict[tuple[str, int], int]:
    return {("jobs.events", at): on for at, on in (await ledger.positions("jobs.events", partitions)).items()}


async def test_a_fold_that_lost_its_partition_writes_nothing(ledger: Any) -> None:
    old, new = folder_of(ledger), folder_of(ledger)
    records = records_of(whole_job(JOB, 2))
    await old.positions([0])
    await new.positions([0])
    await new.apply(new.prepare(None, records[:1]))
    before = await ledger.rows()
    with pytest.raises(Fenced):
        await old.apply(old.prepare(None, records[:5]))
    assert await ledger.rows() == before


async def test_a_transaction_that_fails_leaves_nothing_behind(ledger: Any) -> None:
    await ledger.positions("jobs.events", [0])

    async def fail_midway() -> None:
        async with ledger.transaction({("jobs.events", 0): 0}, {("jobs.events", 0): 9}) as transaction:
            await transaction.lock([JOB])
            await transaction.announce([Announcement(0, JOB, "JobState", b"{}")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_midway()
    assert await ledger.positions("jobs.events", [0]) == {0: 0}
    assert await ledger.rows() == ({}, {})
    assert await ledger.outbox([0], 10) == []


async def test_the_outbox_keeps_its_order_and_its_partitions_apart(ledger: Any) -> None:
    folder = folder_of(ledger)
    await folder.positions([0, 1])
    await folder.apply(folder.prepare(None, records_of(whole_job(JOB, 1), partition=0)))
    await folder.apply(folder.prepare(None, records_of(whole_job(OTHER, 1), partition=1)))
    first, second = await ledger.outbox([0], 10)
    assert [(first.job, first.type), (second.job, second.type)] == [(JOB, "JobFinished"), (JOB, "JobState")]
    assert [it.seq for it in await ledger.outbox([0, 1], 1)] == [first.seq]
    await ledger.published([first, second])
    assert await ledger.outbox([0], 10) == []
    assert {it.job for it in await ledger.outbox([0, 1], 10)} == {OTHER}


@settings(
    max_examples=int(os.environ.get("SLUICE_EXAMPLES", "25")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_postgres_and_memory_fold_any_history_to_the_same_rows(
    module_database: Database, data: st.DataObject
) -> None:
    history = data.draw(lawless())
    told = data.draw(told_again(history))
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    memory = MemoryLedger()

    async def both() -> tuple[Rows, Rows, list[Any], list[Any]]:
        await fold(told, sizes, memory)
        pool = await asyncpg.create_pool(module_database.dsn_for("status"), min_size=1, max_size=2)
        ledger = Observed(pool)
        try:
            await cleared(module_database)
            await fold(told, sizes, ledger)
            said = await ledger.outbox([0], 1000), await memory.outbox([0], 1000)
            return await ledger.rows(), await memory.rows(), *said
        finally:
            await ledger.close()
            await pool.close()

    postgres_rows, memory_rows, postgres_said, memory_said = asyncio.run(both())
    assert postgres_rows == memory_rows
    # Jobs of one span are told of in no particular order among themselves.
    assert sorted(it.body for it in postgres_said) == sorted(it.body for it in memory_said)


async def cleared(database: Database) -> None:
    """Empty the tables: every example begins with nothing."""
    connection = await asyncpg.connect(database.dsn)
    await connection.execute(
        "TRUNCATE status.jobs, status.job_items, status.offsets, status.outbox, status.dead"
    )
    await connection.close()


async def test_a_record_that_postgres_refuses_is_buried_alone(postgres_ledger: Observed) -> None:
    # A rule of the database's own, as a later version of it might have.
    admin = postgres_ledger.pool
    await admin.execute(
        "ALTER TABLE status.job_items ADD CONSTRAINT one CHECK (file <> '000000000000000000000001')"
    )
    folder = folder_of(postgres_ledger)
    await folder.positions([0])
    await folder.apply(
        folder.prepare(None, records_of([planned(JOB, 3), *(attached(JOB, n) for n in range(3))]))
    )
    jobs, items = await postgres_ledger.rows()
    assert sorted(n for _, n in items) == [0, 2]
    assert jobs[JOB].attached == 2
    assert await admin.fetchval("SELECT array_agg(record_offset) FROM status.dead") == [2]
    assert await folder_of(postgres_ledger).positions([0]) == {0: 4}


async def test_notes_about_dead_records_are_capped(
    postgres_ledger: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice_status.store.MOST_DEAD", 5)
    folder = folder_of(postgres_ledger)
    await folder.positions([0])
    for start in range(0, 12, 3):
        await folder.apply(folder.prepare(None, [FakeRecord(b"{", start + n) for n in range(3)]))
    kept = await postgres_ledger.pool.fetch("SELECT record_offset FROM status.dead ORDER BY record_offset")
    assert len(kept) == 5
    assert kept[-1][0] == 11


async def test_two_folds_of_different_partitions_that_meet_in_one_job_lose_no_count(
    postgres_ledger: Observed,
) -> None:
    """Whatever topic a job's events come by, its counts are those of its items."""
    one, two = folder_of(postgres_ledger), folder_of(postgres_ledger)
    await one.positions([0])
    await two.positions([1])
    await one.apply(one.prepare(None, records_of([planned(JOB, 200)])))
    lists = [[attached(JOB, n) for n in range(100)], [attached(JOB, n) for n in range(50, 200)]]
    spans_of = [
        list(spans(records_of(events, 1 - part, part), itertools.repeat(10)))
        for part, events in enumerate(lists)
    ]

    async def run(folder: Folder, cut: list[list[FakeRecord]]) -> None:
        for span in cut:
            await folder.apply(folder.prepare(None, span))

    await asyncio.gather(run(one, spans_of[0]), run(two, spans_of[1]))
    jobs, items = await postgres_ledger.rows()
    assert (jobs[JOB].attached, len(items), jobs[JOB].state) == (200, 200, FINISHED)


async def test_only_a_jobs_end_waits_for_the_disk(postgres_ledger: Observed) -> None:
    """Rows and offsets may be lost together; an end that was told may not be."""
    setting = "SELECT current_setting('synchronous_commit')"
    waited = []
    for number, kind in enumerate(("JobState", "JobFinished", "JobState")):
        await postgres_ledger.positions("jobs.events", [0])
        place = ("jobs.events", 0)
        async with postgres_ledger.transaction({place: number}, {place: number + 1}) as transaction:
            await transaction.lock([JOB])
            await transaction.announce([Announcement(0, JOB, kind, b"{}")])
            waited.append(await transaction._connection.fetchval(setting))
    assert waited == ["off", "on", "off"]


async def test_a_database_that_is_away_is_reported_as_unavailable(postgres_ledger: Observed) -> None:
    folder = folder_of(postgres_ledger)
    await folder.positions([0])
    await postgres_ledger.pool.close()
    with pytest.raises(Unavailable):
        await folder.apply(folder.prepare(None, records_of([planned(JOB, 1)])))
