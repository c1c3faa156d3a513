"""What the runtime tells Prometheus is what happened: alerts and scaling go by it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from uuid import uuid4

import pytest
from prometheus_client import Counter, Gauge, Histogram

from sluice_contracts.commands import WritePart
from sluice_contracts.topics import RETRY_TIERS, Topic
from sluice_streaming import fold as fold_module
from sluice_streaming import metrics
from sluice_streaming import worker as worker_module
from sluice_streaming.clock import ManualClock
from sluice_streaming.fold import Fold
from sluice_streaming.limits import Limits
from sluice_streaming.memory import MemoryBroker
from sluice_streaming.messages import Delivery, Message, Record
from sluice_streaming.outcomes import Reject, Retry
from sluice_streaming.step import Handler, Step
from sluice_streaming.worker import Worker
from support.streams import running, until, write

QUICK = Limits(commit_every=0.01, drain=60.0, stop=60.0)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (worker_module, fold_module):
        monkeypatch.setattr(module, "_LAG_EVERY", 0.005)


@pytest.fixture
def topic() -> Topic:
    # Of its own, since the registry is everybody's.
    name = f"t{uuid4().hex[:12]}"
    return Topic(name, WritePart, "item", producers=(), consumers=(), partitions=1, retries=RETRY_TIERS)


def sample(metric: Counter | Gauge | Histogram, kind: str = "", **labels: str) -> float:
    """Give a value; `kind` is the end of a sample's name where a metric has several."""
    samples = [each for family in metric.collect() for each in family.samples if each.labels == labels]
    return sum(it.value for it in samples if it.name.endswith(kind) and not it.name.endswith("_created"))


def lag(topic: Topic) -> tuple[float, float]:
    """Give the records that wait and for how long the oldest has; a group is called as its topic."""
    labels = {"group": topic.name, "topic": topic.name}
    return sample(metrics.LAG, **labels), sample(metrics.LAG_SECONDS, **labels)


def worker(broker: MemoryBroker, topic: Topic, handle: Handler[WritePart], clock: ManualClock) -> Worker:
    step = Step(topic=topic, handle=handle, max_attempts=2)
    return Worker(broker, topic.name, [step], limits=QUICK, clock=clock, concurrency=1)


async def publish(broker: MemoryBroker, topic: Topic, count: int) -> None:
    for item in range(count):
        await broker.publish(Message(topic, f"job/{item}", write(item)))


async def test_every_outcome_is_counted_with_its_reason_and_the_time_it_took(topic: Topic) -> None:
    clock = ManualClock()
    broker = MemoryBroker(clock=clock, partitions=1)

    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        if delivery.command.item == 1 and delivery.attempt == 1:
            raise Retry("source_throttled")
        if delivery.command.item == 2:
            raise Reject("document_gone")
        return ()

    def handled(outcome: str, of: str = topic.name) -> float:
        return sample(metrics.HANDLED, topic=of, outcome=outcome)

    tier = topic.retry(RETRY_TIERS[0])
    async with running(worker(broker, topic, handle, clock)):
        clock.advance(4)
        await publish(broker, topic, 3)
        await until(lambda: handled("done") + handled("retried") + handled("dead") == 3)
        clock.advance(1)
        await until(lambda: handled("done", tier) == 1)
    assert (handled("done"), handled("retried"), handled("dead")) == (1, 1, 1)
    assert sample(metrics.FAILED, topic=topic.name, outcome="retried", code="source_throttled") == 1
    assert sample(metrics.FAILED, topic=topic.name, outcome="dead", code="document_gone") == 1
    for metric in (metrics.SECONDS, metrics.SETTLED):
        assert (sample(metric, "_count", topic=topic.name), sample(metric, "_count", topic=tier)) == (3, 1)


async def test_lag_is_what_is_not_settled_and_how_long_the_oldest_of_it_has_waited(topic: Topic) -> None:
    clock, gate = ManualClock(), asyncio.Event()
    broker = MemoryBroker(clock=clock, partitions=1)

    async def handle(_delivery: Delivery[WritePart]) -> Sequence[Message]:
        await gate.wait()
        return ()

    async with running(worker(broker, topic, handle, clock)):
        await publish(broker, topic, 5)
        await until(lambda: sample(metrics.IN_FLIGHT, group=topic.name) == 1)
        clock.advance(30)
        # One of the five has begun.
        await until(lambda: lag(topic) == (4, 30))
        gate.set()
        await until(lambda: lag(topic) == (0, 0))
    assert sample(metrics.IN_FLIGHT, group=topic.name) == 0


async def test_a_folds_lag_is_what_its_store_has_not_taken(topic: Topic) -> None:
    clock, gate, taken = ManualClock(), asyncio.Event(), 0
    broker = MemoryBroker(clock=clock, partitions=1)

    async def positions(_partitions: object) -> Mapping[int, int]:
        return {}

    async def apply(records: Sequence[Record]) -> None:
        nonlocal taken
        await gate.wait()
        taken += len(records)

    folding = Fold(broker, topic.name, topic, positions, apply, now=clock.now)
    await publish(broker, topic, 5)
    async with running(folding):
        clock.advance(30)
        await until(lambda: lag(topic) == (5, 30))
        gate.set()
        await until(lambda: lag(topic) == (0, 0))
    assert taken == 5
    assert sample(metrics.FOLDED, group=topic.name) == 5
