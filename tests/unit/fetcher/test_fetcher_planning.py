"""A job is planned once, however often and in whatever order its commands come."""

from __future__ import annotations

from uuid import UUID

import pytest
from msgspec.structs import replace

from sluice_contracts import wire
from sluice_contracts.commands import (
    CancelDocumentImport,
    DocumentImportCommand,
    FetchDocuments,
    StartDocumentImport,
)
from sluice_contracts.events import ItemFailed, JobCancelled, JobPlanned, Stage
from sluice_contracts.topics import DOCUMENT_FETCH, JOBS_DOCUMENT_IMPORT, JOBS_EVENTS
from sluice_fetcher.planner import LOT, Planner
from sluice_streaming.memory import MemoryRecord
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.outcomes import Failure, Reject, Unavailable
from support.fetcher_memory import JOB, NOW, MemoryDocuments, start


def delivery(command: DocumentImportCommand) -> Delivery[DocumentImportCommand]:
    return Delivery(command, None)


@pytest.fixture
def store() -> MemoryDocuments:
    return MemoryDocuments()


@pytest.fixture
def planner(store: MemoryDocuments) -> Planner:
    return Planner(store, lambda: NOW)


def record(value: bytes | None) -> MemoryRecord:
    return MemoryRecord(JOBS_DOCUMENT_IMPORT.name, 0, 0, JOB.encode(), value)


async def test_a_start_becomes_lots_of_items_and_the_event(planner: Planner, store: MemoryDocuments) -> None:
    messages = list(await planner.handle(delivery(start(3))))
    assert set(store.items) == {(JOB, number) for number in range(3)}
    assert messages[0].topic is JOBS_EVENTS
    planned = messages[0].body
    assert isinstance(planned, JobPlanned)
    assert (planned.items, planned.client, planned.subject, planned.at) == (3, "client", "subject", NOW)
    assert messages[1:] == [
        Message(DOCUMENT_FETCH, f"{JOB}/0", FetchDocuments(job=JOB, items=(0, 1, 2)), (("items", b"0-2"),))
    ]


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        (["a", "a"], (("a",), ())),
        (["a", "b", "a", "c"], (("a", "b", "c"), (0, 1, 0, 2))),
    ],
)
async def test_the_plan_says_which_servers_the_items_are_on(
    planner: Planner, sources: list[str], told: tuple[tuple[str, ...], tuple[int, ...]]
) -> None:
    items = tuple(
        replace(item, source=source) for item, source in zip(start(len(sources)).items, sources, strict=True)
    )
    planned = (await planner.handle(delivery(replace(start(), items=items))))[0].body
    assert isinstance(planned, JobPlanned)
    assert (planned.sources, planned.item_sources) == told


@pytest.mark.parametrize("count", [1, LOT, LOT + 1, 100])
async def test_every_item_is_in_one_lot(planner: Planner, count: int) -> None:
    _, *lots = await planner.handle(delivery(start(count)))
    items = [item for it in lots if isinstance(it.body, FetchDocuments) for item in it.body.items]
    assert items == list(range(count))
    assert len(lots) == -(-count // LOT)
    assert len({it.key for it in lots}) == len(lots), "so that they spread over processes"


async def test_a_second_delivery_changes_nothing_and_says_the_same(
    planner: Planner, store: MemoryDocuments
) -> None:
    first = await planner.handle(delivery(start()))
    before = dict(store.items)
    assert await planner.handle(delivery(start())) == first
    assert store.items == before


async def test_the_same_document_twice_in_a_job_is_two_items(
    planner: Planner, store: MemoryDocuments
) -> None:
    item = start(1).items[0]
    command = StartDocumentImport(job=JOB, client="c", subject="s", submitted_at=0.0, items=(item, item))
    assert len(await planner.handle(delivery(command))) == 2
    assert len(store.items) == 2


@pytest.mark.parametrize("cancel_first", [True, False])
async def test_a_cancelled_job_stays_cancelled(
    planner: Planner, store: MemoryDocuments, cancel_first: bool
) -> None:
    commands: list[DocumentImportCommand] = [start(), CancelDocumentImport(job=JOB)]
    for command in (*(reversed(commands) if cancel_first else commands), *commands):
        await planner.handle(delivery(command))
    assert store.cancelled == {JOB}
    (waiting,) = await store.find(JOB, [0])
    assert waiting is not None
    assert waiting.cancelled


async def test_a_cancellation_is_told(planner: Planner) -> None:
    messages = await planner.handle(delivery(CancelDocumentImport(job=JOB)))
    assert [message.body for message in messages] == [JobCancelled(job=JOB, at=NOW)]


@pytest.mark.parametrize("job", ["", "x", "../etc", str(UUID(JOB)).upper(), UUID(JOB).hex])
async def test_an_id_that_is_none_is_refused(planner: Planner, store: MemoryDocuments, job: str) -> None:
    commands: tuple[DocumentImportCommand, ...] = (start(job=job), CancelDocumentImport(job=job))
    for command in commands:
        with pytest.raises(Reject):
            await planner.handle(delivery(command))
    assert store.items == {}


async def test_a_database_that_is_away_is_waited_for(planner: Planner, store: MemoryDocuments) -> None:
    store.away = True
    with pytest.raises(Unavailable):
        await planner.handle(delivery(start()))


@pytest.mark.parametrize("decoded", [True, False])
def test_a_job_that_cannot_be_planned_ends_with_all_its_items_failed(planner: Planner, decoded: bool) -> None:
    malformed = wire.encode(start(2)).replace(b'"items":[{', b'"tags":7,"items":[{')
    subject = delivery(start(2)) if decoded else record(malformed)
    bodies = [message.body for message in planner.on_dead(subject, Failure("internal", 8))]
    assert isinstance(bodies[0], JobPlanned)
    assert bodies[0].items == 2
    assert bodies[1:] == [
        ItemFailed(job=JOB, at=NOW, item=number, stage=Stage.PLAN, code="internal") for number in range(2)
    ]


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b'{"job":"x","items":[]}', b"\xff"])
def test_of_bytes_that_say_nothing_nothing_is_said(planner: Planner, value: bytes | None) -> None:
    assert planner.on_dead(record(value), Failure("malformed", 1)) == ()


def test_a_failure_code_that_items_do_not_have_is_internal(planner: Planner) -> None:
    bodies = [message.body for message in planner.on_dead(delivery(start(1)), Failure("malformed", 1))]
    assert isinstance(bodies[1], ItemFailed)
    assert bodies[1].code == "internal"
