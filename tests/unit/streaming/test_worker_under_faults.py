"""The worker when time passes, when too much dies, and when its consumer falls asleep."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

import pytest

from sluice_contracts.commands import WritePart
from sluice_contracts.topics import BULK_EXPORT_PARTS
from sluice_streaming import worker as worker_module
from sluice_streaming.backend import Assignee
from sluice_streaming.clock import ManualClock
from sluice_streaming.letters import LetterCap
from sluice_streaming.limits import Limits
from sluice_streaming.memory import MemoryBroker
from sluice_streaming.memory_groups import MemoryConsumer
from sluice_streaming.messages import Delivery, Message, Outgoing, Partition, Record
from sluice_streaming.outcomes import Retry
from sluice_streaming.step import Handler, Step
from sluice_streaming.watchdog import Stuck, Watchdog
from sluice_streaming.worker import Worker
from support.streams import running, until, write

QUICK = Limits(commit_every=0.01, drain=60.0, stop=60.0)


def message(item: int) -> Message:
    return Message(BULK_EXPORT_PARTS, f"job/{item}", write(item))


def worker(
    broker: MemoryBroker,
    handle: Handler[WritePart],
    *,
    limits: Limits = QUICK,
    clock: ManualClock | None = None,
) -> Worker:
    step = Step(topic=BULK_EXPORT_PARTS, handle=handle)
    return Worker(broker, "group", [step], limits=limits, clock=clock, concurrency=4)


async def turns(count: int = 200) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_retries_come_back_when_they_are_due_and_in_order() -> None:
    clock = ManualClock()
    broker, start, seen = MemoryBroker(clock=clock), clock.now(), []

    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        seen.append((round(clock.now() - start, 3), delivery.command.item, delivery.attempt))
        if delivery.attempt < 4:
            raise Retry("source_throttled")
        return ()

    async with running(worker(broker, handle, clock=clock)):
        await broker.publish(message(0))
        await until(lambda: len(seen) == 1)
        clock.advance(0.5)
        await broker.publish(message(1))
        await until(lambda: len(seen) == 2)
        for count, due in enumerate((1.0, 1.5, 11.0, 11.5, 71.0, 71.5), start=3):
            clock.advance(start + due - 0.1 - clock.now())
            await turns()
            assert len(seen) < count, "nothing comes back before its time"
            clock.advance(0.1)
            await until(lambda: len(seen) == count)  # noqa: B023 - awaited here
    assert seen == [
        (0.0, 0, 1),
        (0.5, 1, 1),
        (1.0, 0, 2),
        (1.5, 1, 2),
        (11.0, 0, 3),
        (11.5, 1, 3),
        (71.0, 0, 4),
        (71.5, 1, 4),
    ]


async def test_poison_without_end_pauses_the_worker_instead_of_eating_the_topic() -> None:
    clock = ManualClock()
    broker, handled = MemoryBroker(clock=clock, partitions=1), []

    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        handled.append(delivery.command.item)
        return ()

    limits = Limits(commit_every=0.01, letters=5, letter_window=60)
    working = worker(broker, handle, limits=limits, clock=clock)
    for _ in range(20):
        broker.append(Outgoing(BULK_EXPORT_PARTS.name, b"k", b"not json"))
    await broker.publish(message(1))
    dead = BULK_EXPORT_PARTS.dead
    async with running(working):
        await until(lambda: len(broker.records(dead)) == 5)
        await until(lambda: "dead letters" in str(working.ready()))
        await turns()
        assert (len(broker.records(dead)), handled) == (5, [])
        for letters in (10, 15, 20):
            clock.advance(60)
            await until(lambda: len(broker.records(dead)) == letters)  # noqa: B023 - awaited here
        await until(lambda: handled == [1])
        await until(lambda: working.ready() is True)


def test_the_cap_counts_a_sliding_window() -> None:
    cap = LetterCap(limit=2, window=10)
    assert cap.wait(0) == 0
    cap.count(0)
    cap.count(4)
    assert cap.wait(5) == 5
    assert cap.wait(10) == 0
    cap.count(10)
    assert cap.wait(11) == 3


async def test_results_too_large_to_publish_become_a_dead_letter() -> None:
    broker = MemoryBroker(max_bytes=1000)

    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        return (Message(BULK_EXPORT_PARTS, "k", write(1, job="x" * 2000)),)

    await broker.publish(message(0))
    async with running(worker(broker, handle)):
        await until(lambda: bool(broker.records(BULK_EXPORT_PARTS.dead)))
        await until(lambda: sum(broker.committed("group").values()) == 1)
    (letter,) = broker.records(BULK_EXPORT_PARTS.dead)
    assert letter.value is None


async def test_a_log_that_goes_away_is_waited_for_without_handling_again() -> None:
    broker, gate, handled = MemoryBroker(), asyncio.Event(), []

    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        handled.append(delivery.command.item)
        await gate.wait()
        return (Message(BULK_EXPORT_PARTS, "other", write(1000 + delivery.command.item)),)

    working = worker(broker, handle, limits=Limits(commit_every=0.01, stop=0.2))
    async with running(working):
        await broker.publish(message(0))
        await until(lambda: handled == [0])
        broker.set_available(False)
        gate.set()
        await until(lambda: working.ready() == "waiting for kafka")
        broker.set_available(True)
        await until(lambda: len(handled) > 1)
        gate.clear()
    assert handled[:2] == [0, 1000]


class Sleeper(MemoryBroker):
    """A log whose consumers stop reading after a while, and say nothing."""

    def consumer(self, group: str, topics: Sequence[str], assignee: Assignee) -> MemoryConsumer:
        return SleepingConsumer(self, self.group(group), topics, assignee)


class SleepingConsumer(MemoryConsumer):
    async def poll(self, timeout: float, limit: int) -> Mapping[Partition, Sequence[Record]]:
        await asyncio.sleep(timeout)
        return {}


async def test_a_consumer_that_silently_stopped_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_LAG_EVERY", 0.01)

    async def handle(_delivery: Delivery[WritePart]) -> Sequence[Message]:
        return ()

    broker = Sleeper()
    await broker.publish(message(0))
    working = worker(broker, handle, limits=Limits(stuck=0.2, stop=1.0))
    with pytest.raises(Stuck, match="1 records wait"):
        async with asyncio.timeout(120):
            await working.run(asyncio.Event())


def test_the_watchdog_bites_only_at_lag_without_progress_and_with_nothing_in_flight() -> None:
    now = 0.0
    dog = Watchdog(10, monotonic=lambda: now)
    now = 11
    dog.check(0, busy=0)
    now = 30
    dog.check(5, busy=1)
    now = 39
    dog.check(5, busy=0)
    dog.progress()
    now = 48
    dog.check(5, busy=0)
    now = 50
    with pytest.raises(Stuck):
        dog.check(5, busy=0)
    never = Watchdog(0, monotonic=lambda: now)
    now = 1e9
    never.check(5, busy=0)


async def test_a_delivery_that_breaks_ends_the_worker_rather_than_lose_its_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = MemoryBroker(max_bytes=-1)  # nothing can be published, not even a letter without a value
    broker.append(Outgoing(BULK_EXPORT_PARTS.name, b"k", b"not json"))

    async def handle(_delivery: Delivery[WritePart]) -> Sequence[Message]:
        return ()

    with caplog.at_level(logging.CRITICAL), pytest.raises(RuntimeError, match="broke"):
        async with asyncio.timeout(120):
            await worker(broker, handle).run(asyncio.Event())
    assert broker.committed("group") == {}


async def test_a_worker_that_waits_for_its_log_can_be_stopped() -> None:
    broker = MemoryBroker(available=False)

    async def handle(_delivery: Delivery[WritePart]) -> Sequence[Message]:
        return ()

    working = worker(broker, handle)
    async with asyncio.timeout(120), running(working):
        await turns()
        assert working.ready() == "starting"


async def test_a_crashed_member_is_replaced_and_commits_nothing_more() -> None:
    broker = MemoryBroker()
    handled: list[int] = []

    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        handled.append(delivery.command.item)
        return ()

    hung = asyncio.Event()

    async def hang(_delivery: Delivery[WritePart]) -> Sequence[Message]:
        hung.set()
        await asyncio.Event().wait()
        return ()

    first = worker(broker, hang, limits=Limits(commit_every=0.01, stop=0.05))
    await broker.publish(*[message(item) for item in range(12)])
    run = asyncio.create_task(first.run(asyncio.Event()))
    await hung.wait()
    consumer = first._consumer
    assert isinstance(consumer, MemoryConsumer)
    await broker.crash(consumer)
    async with running(worker(broker, handle)):
        await until(lambda: sorted(handled) == list(range(12)))
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


async def test_a_partition_that_moves_leaves_its_unfinished_deliveries_to_the_new_owner() -> None:
    broker, cancelled, handled = MemoryBroker(), [], []

    async def hang(delivery: Delivery[WritePart]) -> Sequence[Message]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(delivery.command.item)
            raise
        return ()

    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        handled.append(delivery.command.item)
        return ()

    await broker.publish(*[message(item) for item in range(12)])
    limits = Limits(commit_every=0.01, drain=0.05, stop=0.05)
    first = worker(broker, hang, limits=limits)
    async with running(first):
        await until(lambda: first._dispatcher.busy == 4)
        async with running(worker(broker, handle, limits=limits)):
            await until(lambda: bool(handled))
        assert len(cancelled) >= 4, "the rebalance waited, then fenced"
    async with running(worker(broker, handle)):
        await until(lambda: set(handled) == set(range(12)))


async def test_what_finishes_after_its_partition_moved_does_not_count() -> None:
    broker, gate, started = MemoryBroker(partitions=1), asyncio.Event(), asyncio.Event()

    async def stubborn(delivery: Delivery[WritePart]) -> Sequence[Message]:
        started.set()
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue  # a handler that will not be cancelled
        return (Message(BULK_EXPORT_PARTS, "late", write(99)),)

    await broker.publish(message(0))
    first = worker(broker, stubborn, limits=Limits(commit_every=0.01, drain=0.05, stop=0.05))
    async with running(first):
        await started.wait()
        await first.revoked([Partition(BULK_EXPORT_PARTS.name, 0)])
        gate.set()
        await until(lambda: first._dispatcher.busy == 0)
    assert broker.committed("group") == {}
    assert [body.item for body in broker.bodies(BULK_EXPORT_PARTS)] == [0], "nor is what it led to published"
