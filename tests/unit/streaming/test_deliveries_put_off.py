"""What waits for its turn holds no slot, and what has to wait long comes back without having failed."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Sequence
from dataclasses import replace

import pytest

from sluice_contracts.commands import FetchDocuments
from sluice_contracts.topics import DOCUMENT_FETCH, Topic
from sluice_streaming.clock import ManualClock
from sluice_streaming.handling import Handling
from sluice_streaming.limits import Limits
from sluice_streaming.memory import MemoryBroker, MemoryRecord
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.outcomes import Retry
from sluice_streaming.retries import History
from sluice_streaming.slots import Slots, have, hold, idle
from sluice_streaming.step import Step
from sluice_streaming.worker import Worker

START = 1_700_000_000.0
JOB = "6a0c5f0e-0000-4000-8000-000000000001"
VALUE = f'{{"type":"FetchDocuments","job":"{JOB}","items":[3]}}'.encode()


def record(history: History | None = None) -> MemoryRecord:
    headers = () if history is None else history.headers("earlier")
    return MemoryRecord("document.fetch", 4, 9, b"j/3", VALUE, headers, int(START * 1000))


def handling(error: Exception) -> Handling[FetchDocuments]:
    async def handle(_delivery: Delivery[FetchDocuments]) -> Sequence[Message]:
        raise error

    def never(*_: object) -> Sequence[Message]:
        raise AssertionError("nothing is told of what is put off")

    step = Step(topic=DOCUMENT_FETCH, handle=handle, on_dead=never, on_retry=never, max_attempts=2)
    return Handling(step, ManualClock(START))


@pytest.mark.parametrize(
    ("after", "tier"), [(None, "1s"), (1.0, "1s"), (10.0, "10s"), (45.0, "1m"), (9999.0, "10m")]
)
async def test_what_is_put_off_waits_about_as_long_as_it_has_to(after: float | None, tier: str) -> None:
    settlement = await handling(Retry("source_throttled", after, counts=False)).handle(record())
    (copy,) = settlement.records
    assert (settlement.outcome, copy.topic) == ("put_off", f"document.fetch.retry.{tier}")


async def test_being_put_off_is_no_attempt_and_may_happen_for_ever() -> None:
    long_ago = History(2, "document.fetch", 4, 9, first_failed=START - 1e6, due=START)
    settlement = await handling(Retry("source_throttled", 1.0, counts=False)).handle(record(long_ago))
    (copy,) = settlement.records
    again = History.of(replace(record(), headers=copy.headers))
    assert (settlement.outcome, again) == ("put_off", replace(long_ago, due=START + 1))


def slots() -> tuple[Slots, list[int]]:
    free = [10]

    def give(count: int) -> None:
        free[0] += count

    return Slots(give, 4), free


def test_a_slot_is_given_to_others_while_its_item_waits_and_taken_back() -> None:
    held, free = slots()
    hold(held)
    assert free == [6]
    with idle(), idle():
        assert free == [8]
        held.give(1)
        assert free == [9]
    assert free == [7]
    held.close()
    assert free == [10]


def test_who_works_on_several_items_gives_all_their_slots_to_others() -> None:
    held, free = slots()

    def wait() -> None:
        hold(held)
        have(3)
        with idle():
            assert free == [9]
            held.give(1)
            assert free == [10]
        assert free == [7]

    contextvars.copy_context().run(wait)
    held.close()
    assert free == [10]


def test_what_waits_longer_than_its_delivery_takes_nothing_back() -> None:
    held, free = slots()
    hold(held)
    with idle():
        held.close()
    assert free == [10]
    held.take()
    with idle():
        held.take()
    assert free == [6]


async def test_a_source_that_makes_everyone_wait_leaves_room_for_others() -> None:
    broker, turn, stop = MemoryBroker(), asyncio.Event(), asyncio.Event()
    topic = Topic(name="t", messages=FetchDocuments, key="", producers=(), consumers=())
    handled: list[int] = []

    async def handle(delivery: Delivery[FetchDocuments]) -> Sequence[Message]:
        (item,) = delivery.command.items
        if item < 8:
            with idle():
                await turn.wait()
        handled.append(item)
        if len(handled) == 4:
            turn.set()
        if len(handled) == 12:
            stop.set()
        return ()

    producer = broker.producer()
    await producer.start()
    commands = [FetchDocuments(job=JOB, items=(item,)) for item in range(12)]
    await producer.publish([Message(topic, "k", command) for command in commands])
    worker = Worker(
        broker, "g", [Step(topic=topic, handle=handle)], concurrency=2, limits=Limits(commit_every=0.01)
    )
    async with asyncio.timeout(120):
        await worker.run(stop)
    # The four that need not wait came first, although the eight before them filled all slots four times.
    assert sorted(handled[:4]) == [8, 9, 10, 11]
    assert sorted(handled) == list(range(12))
