"""The fold as a whole, on the ledger in memory: any history, any cut, told any number of times."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice_contracts.events import FileOutcome, ItemEvent, JobCancelled, JobFinished
from sluice_contracts.states import JobState
from sluice_status import metrics
from sluice_status.folding import Folder
from sluice_status.jobs import FINISHED, RUNNING, SUBMITTED, Job
from sluice_status.ladder import ItemRow, instant, order, row_of
from sluice_status.pace import Pace
from sluice_streaming.outcomes import Fenced
from support.histories import (
    BEGAN,
    attached,
    failed,
    job_number,
    lawful,
    lawless,
    planned,
    sealed,
    told_again,
    whole_job,
)
from support.status_memory import MemoryLedger, records_of, spans

few = settings(max_examples=50, deadline=None)
JOB = job_number(0)
OTHER = job_number(1)


def folder_of(ledger: MemoryLedger, interval: float = 1e9) -> Folder:
    ticks = itertools.count()
    return Folder(ledger, Pace(interval, lambda: float(next(ticks))), lambda: None)


async def fold(
    events: Sequence[object], sizes: Sequence[int] = (1,), ledger: MemoryLedger | None = None
) -> MemoryLedger:
    ledger = ledger or MemoryLedger()
    folder = folder_of(ledger)
    positions = await folder.positions([0])
    for span in spans(records_of(events, positions[0]), itertools.cycle(sizes)):
        await folder.apply(folder.prepare(None, span))
    return ledger


def folded(events: Sequence[object], sizes: Sequence[int] = (1,)) -> MemoryLedger:
    return asyncio.run(fold(events, sizes))


def messages(ledger: MemoryLedger, kind: str) -> list[bytes]:
    return [it.body for _, it in ledger.tables.outbox if it.type == kind]


sizes = st.lists(st.integers(1, 7), min_size=1, max_size=4)


@few
@given(st.data())
def test_any_order_and_repetition_of_a_lawful_history_folds_to_the_same_rows(data: st.DataObject) -> None:
    history = data.draw(lawful())
    once = folded(history)
    again = folded(data.draw(told_again(history)), data.draw(sizes))
    assert again.tables.items == once.tables.items
    assert again.tables.jobs == once.tables.jobs
    assert sorted(messages(again, "JobFinished")) == sorted(messages(once, "JobFinished"))


@few
@given(st.data())
def test_any_order_and_repetition_of_any_history_folds_to_the_same_items_and_counts(
    data: st.DataObject,
) -> None:
    history = data.draw(lawless())
    once = folded(history)
    again = folded(data.draw(told_again(history)), data.draw(sizes))
    assert again.tables.items == once.tables.items
    # How a job ended was decided at some moment, and stays; all else is the same.
    undecided = [
        {job: replace(row, outcome=None, finished_at=None) for job, row in ledger.tables.jobs.items()}
        for ledger in (once, again)
    ]
    assert undecided[0] == undecided[1]


@few
@given(lawless(), sizes)
def test_items_stand_where_the_ladder_says(history: list[msgspec.Struct], cut: list[int]) -> None:
    ledger = folded(history, cut)
    greatest: dict[tuple[str, int], ItemRow] = {}
    for event in history:
        if isinstance(event, ItemEvent):
            row = row_of(event)._replace(at=instant(event.at))
            held = greatest.setdefault((event.job, event.item), row)
            greatest[event.job, event.item] = max(row, held, key=order)
    for job in ledger.tables.jobs.values():
        if job.kind is not None and job.cancelled_at is not None:
            for item in range(job.items):
                row = ItemRow(40, job.cancelled_at)
                greatest[job.job, item] = max(row, greatest.get((job.job, item), row), key=order)
    assert ledger.tables.items == greatest


@few
@given(lawless(), sizes)
def test_counts_are_what_the_items_say(history: list[msgspec.Struct], cut: list[int]) -> None:
    ledger = folded(history, cut)
    for job in ledger.tables.jobs.values():
        ranks = [row.rank for (owner, _), row in ledger.tables.items.items() if owner == job.job]
        counts = (job.attached, job.skipped, job.failed, job.cancelled)
        assert counts == (ranks.count(70), ranks.count(60), ranks.count(50), ranks.count(40))


@few
@given(lawless(), sizes)
def test_a_job_ends_once_and_only_when_planned_and_all_its_items_ended(
    history: list[msgspec.Struct], cut: list[int]
) -> None:
    ledger = folded(history, cut)
    for job in ledger.tables.jobs.values():
        said = [it for _, it in ledger.tables.outbox if it.job == job.job and it.type == "JobFinished"]
        ended = job.kind is not None and job.ended_items >= job.items
        assert (job.state == FINISHED) == ended
        assert len(said) == (1 if ended else 0)


@few
@given(lawless(), sizes, st.integers(0, 40))
def test_reading_a_span_again_after_a_crash_changes_nothing(
    history: list[msgspec.Struct], cut: list[int], back: int
) -> None:
    ledger = folded(history, cut)
    before = ledger.tables
    # A position lost, as in a rebuild over existing rows.
    ledger.tables.offsets["jobs.events", 0] = max(0, len(history) - back)
    rest = history[max(0, len(history) - back) :]
    asyncio.run(fold(rest, cut, ledger))
    assert ledger.tables.jobs == before.jobs
    assert ledger.tables.items == before.items
    assert [it for _, it in ledger.tables.outbox] == [it for _, it in before.outbox]


async def test_a_job_that_goes_well_is_completed_when_its_last_item_lands() -> None:
    ledger = await fold(whole_job(JOB, 3))
    assert ledger.tables.jobs[JOB] == Job(
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


async def test_items_before_their_plan_are_kept_and_the_job_waits_for_it() -> None:
    plan, *rest = whole_job(JOB, 2)
    ledger = await fold(rest)
    assert (ledger.tables.jobs[JOB].state, ledger.tables.outbox) == (SUBMITTED, [])
    ledger = await fold([plan], ledger=ledger)
    assert ledger.tables.jobs[JOB].state == FINISHED


async def test_a_job_without_items_ends_with_its_plan() -> None:
    ledger = await fold([planned(JOB, 0)])
    assert ledger.tables.jobs[JOB].outcome == "completed"


async def test_an_export_is_completed_when_its_last_part_is_sealed() -> None:
    ledger = await fold([planned(JOB, 2), sealed(JOB, 1)])
    assert (ledger.tables.jobs[JOB].state, ledger.tables.jobs[JOB].attached) == (RUNNING, 1)
    await fold([sealed(JOB, 1), sealed(JOB, 0)], ledger=ledger)
    job = ledger.tables.jobs[JOB]
    assert (job.outcome, job.attached) == ("completed", 2)


async def test_a_job_whose_every_item_failed_has_failed() -> None:
    ledger = await fold([planned(JOB, 2), failed(JOB, 0), failed(JOB, 1)])
    assert ledger.tables.jobs[JOB].outcome == "failed"


async def test_skipped_items_count_as_skipped_not_attached() -> None:
    events = [planned(JOB, 1), attached(JOB, 0, outcome=FileOutcome.SKIPPED)]
    ledger = await fold(events)
    job = ledger.tables.jobs[JOB]
    assert (job.skipped, job.attached, job.outcome) == (1, 0, "completed")


async def test_cancelling_ends_the_job_at_once_and_counts_what_had_not_ended() -> None:
    ledger = await fold([planned(JOB, 5), attached(JOB, 2), JobCancelled(job=JOB, at=BEGAN + 10)])
    job = ledger.tables.jobs[JOB]
    assert (job.state, job.outcome, job.attached, job.cancelled) == (FINISHED, "cancelled", 1, 4)
    assert job.finished_at == BEGAN + 10


async def test_a_cancellation_known_before_the_plan_ends_the_job_with_the_plan() -> None:
    ledger = await fold([JobCancelled(job=JOB, at=BEGAN + 1), planned(JOB, 2)])
    assert ledger.tables.jobs[JOB].outcome == "cancelled"


async def test_a_cancellation_after_the_end_finds_nothing_to_cancel() -> None:
    ledger = await fold([*whole_job(JOB, 2), JobCancelled(job=JOB, at=BEGAN + 10)])
    job = ledger.tables.jobs[JOB]
    assert (job.outcome, job.cancelled, len(messages(ledger, "JobFinished"))) == ("completed", 0, 1)


async def test_an_item_that_took_effect_before_its_cancellation_is_told_as_attached() -> None:
    ledger = await fold([planned(JOB, 2), JobCancelled(job=JOB, at=BEGAN + 1), attached(JOB, 0)])
    job = ledger.tables.jobs[JOB]
    assert (job.outcome, job.attached, job.cancelled) == ("cancelled", 1, 1)
    assert len(messages(ledger, "JobFinished")) == 1
    last = msgspec.json.decode(messages(ledger, "JobState")[-1], type=JobState)
    assert (last.attached, last.cancelled) == (1, 1)


async def test_an_item_outside_the_plan_does_not_end_the_job() -> None:
    ledger = await fold([planned(JOB, 2), attached(JOB, 0), attached(JOB, 99)])
    assert ledger.tables.jobs[JOB].state == RUNNING


async def test_the_end_is_announced_with_what_the_row_says() -> None:
    ledger = await fold([planned(JOB, 2), attached(JOB, 0), failed(JOB, 1)])
    (body,) = messages(ledger, "JobFinished")
    said = msgspec.json.decode(body, type=JobFinished)
    assert (said.items, said.attached, said.failed, said.at) == (2, 1, 1, BEGAN + 9)


async def test_a_running_jobs_state_is_told_at_its_plan_then_at_the_pace_then_at_its_end() -> None:
    ledger = MemoryLedger()
    now = 0.0
    folder = Folder(ledger, Pace(5.0, lambda: now), lambda: None)
    await folder.positions([0])
    events = [planned(JOB, 4), *(attached(JOB, n) for n in range(4))]
    told = []
    for at, record in zip((0.0, 1.0, 6.0, 7.0, 7.1), records_of(events), strict=True):
        now = at
        await folder.apply(folder.prepare(None, [record]))
        told.append(len(messages(ledger, "JobState")))
    assert told == [1, 1, 2, 2, 3]


async def test_two_folds_of_one_partition_do_not_both_write() -> None:
    ledger = MemoryLedger()
    old, new = folder_of(ledger), folder_of(ledger)
    records = records_of(whole_job(JOB, 2))
    await old.positions([0])
    await old.apply(old.prepare(None, records[:2]))
    assert await new.positions([0]) == {0: 2}
    await new.apply(new.prepare(None, records[2:4]))
    with pytest.raises(Fenced):
        await old.apply(old.prepare(None, records[2:5]))
    assert ledger.tables.offsets["jobs.events", 0] == 4
    assert await old.positions([0]) == {0: 4}
    await old.apply(old.prepare(None, records[4:]))
    assert ledger.tables.jobs[JOB].state == FINISHED


async def test_a_partition_that_was_never_taken_over_is_not_written() -> None:
    folder = folder_of(MemoryLedger())
    await folder.positions([0])
    with pytest.raises(Fenced):
        await folder.apply(folder.prepare(None, records_of([planned(JOB, 1)], partition=1)))


async def test_one_record_that_the_database_refuses_is_buried_and_the_rest_is_folded() -> None:
    ledger = MemoryLedger(refused={OTHER})
    await fold([*whole_job(JOB, 3), planned(OTHER, 1), attached(JOB, 0)], sizes=[20], ledger=ledger)
    assert [it.offset for it in ledger.tables.dead] == [10]
    assert ledger.tables.jobs[JOB].state == FINISHED
    assert ledger.tables.offsets["jobs.events", 0] == 12


async def test_jobs_and_items_are_counted_once_however_often_their_events_come() -> None:
    def counted() -> Counter[str]:
        counters = (metrics.PLANNED, metrics.FINISHED_JOBS, metrics.ITEMS)
        samples = [it for each in counters for family in each.collect() for it in family.samples]
        totals = [it for it in samples if it.name.endswith("_total")]
        return Counter({f"{it.name}{sorted(it.labels.values())}": int(it.value) for it in totals})

    before = counted()
    ledger = await fold([attached(JOB, 0), planned(JOB, 2), failed(JOB, 1)], (2,))
    await fold([attached(JOB, 0), planned(JOB, 2), failed(JOB, 1)], (1,), ledger)
    assert counted() - before == {
        "sluice_jobs_planned_total['document-import']": 1,
        "sluice_jobs_finished_total['completed', 'document-import']": 1,
        "sluice_items_ended_total['attached', 'document-import']": 1,
        "sluice_items_ended_total['document-import', 'failed']": 1,
    }
