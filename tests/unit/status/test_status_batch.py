"""Reading a span: what stands for each item, and what becomes of records that are not as promised."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice_contracts import wire
from sluice_contracts.events import (
    Attached,
    DocumentAttached,
    DocumentsAttached,
    DocumentsEvent,
    DocumentsFetched,
    DocumentsScraped,
    Fetched,
    FileOutcome,
    ItemEvent,
    JobEvent,
    Scraped,
    each,
)
from sluice_contracts.topics import JOBS_EVENTS
from sluice_status.batch import Batch, read
from sluice_status.columns import table
from sluice_status.ladder import RANKS, ItemRow, instant, order, row_of
from support.histories import BEGAN, attached, job_number, lawless, planned, told_again, whole_job
from support.status_memory import FakeRecord, records_of

unhurried = settings(deadline=None)
JOB = job_number(0)
decoder: wire.Decoder[Any] = wire.Decoder(JOBS_EVENTS.messages)


def batch_of(*events: object, start: int = 0) -> Batch:
    return read_all(records_of(events, start))


def read_all(records: Sequence[FakeRecord]) -> Batch:
    batch = Batch()
    read(batch, records, decoder)
    return batch


def test_every_item_event_has_a_rank() -> None:
    kinds = {kind for kind in JobEvent.__args__ if issubclass(kind, ItemEvent)}
    assert set(RANKS) == kinds


def test_the_highest_rank_stands_for_an_item() -> None:
    batch = batch_of(*reversed(whole_job(JOB, 3)))
    assert {position: type(event) for position, (_, event) in batch.jobs[JOB].items.items()} == {
        0: DocumentAttached,
        1: DocumentAttached,
        2: DocumentAttached,
    }


def test_an_event_about_several_items_says_what_one_about_each_says() -> None:
    fetched = DocumentsFetched(
        job=JOB, at=BEGAN + 1, items=tuple(Fetched(item=item, size=item) for item in range(3))
    )
    scraped = DocumentsScraped(job=JOB, at=BEGAN + 2, items=(Scraped(item=1, keys=3, warnings=1),))
    landed = DocumentsAttached(
        job=JOB,
        at=BEGAN + 3,
        items=(
            Attached(item=2, file="a" * 24, outcome=FileOutcome.SKIPPED, size=7),
            Attached(item=0, file="b" * 24, outcome=FileOutcome.CREATED, size=8, others=2),
        ),
    )
    told: tuple[DocumentsEvent, ...] = (fetched, scraped, landed)
    together = batch_of(*told)
    assert together.jobs == batch_of(*(one for event in told for one in each(event))).jobs
    assert table(together.jobs) == [
        (1, 0, 70, BEGAN + 3, 8, "b" * 24, "created", None, None, None, None),
        (1, 1, 30, BEGAN + 2, None, None, None, None, None, None, None),
        (1, 2, 60, BEGAN + 3, 7, "a" * 24, "skipped", None, None, None, None),
    ]
    assert together.records == 3


def test_of_an_event_about_several_items_only_what_cannot_be_kept_is_left_out() -> None:
    items = tuple(
        Attached(item=item, file=file, outcome=FileOutcome.CREATED, size=1)
        for item, file in enumerate(("a" * 24, "\0"))
    )
    batch = batch_of(DocumentsAttached(job=JOB, at=BEGAN, items=items))
    assert list(batch.jobs[JOB].items) == [0]
    assert len(batch.dead) == 1


def test_offsets_move_past_every_record_also_the_bad_ones() -> None:
    batch = batch_of(planned(JOB, 1), b"{", b'{"type":"FromTheFuture"}', start=40)
    assert batch.next_offsets == {("jobs.events", 0): 43}
    assert batch.records == 3


def test_a_type_of_the_future_is_skipped_and_counted() -> None:
    batch = batch_of(b'{"type":"JobPondered","job":"x","at":1}', planned(JOB, 1))
    assert (batch.unknown, batch.dead, list(batch.jobs)) == (1, [], [JOB])


_ATTACHED = wire.encode(attached(JOB, 0))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"null",
        b"\xff\xfe",
        b"[]",
        b'{"type":"JobPlanned"}',
        b'{"type":"JobCancelled","job":"not-an-id","at":1}',
        b'{"type":"JobCancelled","job":"' + JOB.upper().encode() + b'","at":1}',
        b'{"type":"JobCancelled","job":"' + JOB.encode() + b'","at":-1}',
        b'{"type":"JobCancelled","job":"' + JOB.encode() + b'","at":1e300}',
        _ATTACHED.replace(b'"item":0', b'"item":-1'),
        _ATTACHED.replace(b'"item":0', b'"item":2147483648'),
        _ATTACHED.replace(b'"item":0', b'"item":1.5'),
        _ATTACHED.replace(b'"size":20480', b'"size":9223372036854775808'),
        _ATTACHED.replace(b'"size":20480', b'"size":99999999999999999999999999999'),
        _ATTACHED.replace(b"created", b"conjured"),
        _ATTACHED.replace(b'"file":"', b'"file":"\\u0000'),
        _ATTACHED.replace(b'"file":"', b'"file":"\\ud800'),
        _ATTACHED.replace(b'"file":"', b'"file":"' + b"f" * 101),
        b'{"type":' * 2000,
    ],
)
def test_a_malformed_record_is_noted_by_place_and_hash_and_stops_nothing(value: bytes) -> None:
    records = [FakeRecord(value, 7, 3), *records_of([planned(JOB, 1)], 8, 3)]
    batch = read_all(records)
    (dead,) = batch.dead
    assert (dead.topic, dead.partition, dead.offset) == ("jobs.events", 3, 7)
    assert dead.sha256 == hashlib.sha256(value).digest()
    assert batch.jobs[JOB].planned is not None


def test_a_note_about_a_malformed_record_quotes_nothing_of_it() -> None:
    secret = b'{"type":"ItemFailed","job":"canary-4711","at":"canary-4711","item":"canary-4711"}'
    (dead,) = batch_of(secret).dead
    assert "canary" not in dead.reason


@unhurried
@given(st.data())
def test_what_stands_does_not_depend_on_order_or_repetition(data: st.DataObject) -> None:
    history = data.draw(lawless())
    once = batch_of(*history)
    again = batch_of(*data.draw(told_again(history)))
    assert _standing(once) == _standing(again)


@unhurried
@given(lawless(), st.integers(1, 5))
def test_a_batch_may_be_read_in_portions(history: list[msgspec.Struct], portion: int) -> None:
    records = records_of(history)
    batch = Batch()
    for start in range(0, len(records), portion):
        read(batch, records[start : start + portion], decoder)
    assert batch == read_all(records)


def _standing(batch: Batch) -> object:
    return {
        job: (
            news.planned,
            news.cancelled_at,
            {n: order(row_of(event)) for n, (_, event) in news.items.items()},
        )
        for job, news in batch.jobs.items()
    }


@unhurried
@given(lawless())
def test_a_table_holds_the_rows_that_events_make(history: list[msgspec.Struct]) -> None:
    batch = batch_of(*history)
    expected = [
        (number, n, *_in_table_order(row_of(event)))
        for number, news in enumerate(batch.jobs.values(), 1)
        for n, (_, event) in news.items.items()
    ]
    assert table(batch.jobs) == expected


def _in_table_order(row: ItemRow) -> tuple[object, ...]:
    return (
        row.rank,
        row.at,
        row.size,
        row.file,
        row.file_outcome,
        row.stage,
        row.code,
        row.attempt,
        row.source_status,
    )


@unhurried
@given(st.floats(0, 253_402_300_799))
def test_an_instant_is_its_own_instant(at: float) -> None:
    assert instant(instant(at)) == instant(at)
    assert abs(instant(at) - at) < 1e-4


def test_times_closer_than_a_microsecond_are_the_same_instant() -> None:
    assert instant(BEGAN + 2e-7) == instant(BEGAN)
