"""What aiokafka does not recover from by itself: the runtime does, or ends so that another takes over."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any
from uuid import uuid4

import pytest
from aiokafka.errors import KafkaError

from sluice_streaming.kafka import KafkaBackend, KafkaTuning
from sluice_streaming.kafka_consumer import KafkaConsumer
from sluice_streaming.messages import Partition
from sluice_streaming.outcomes import Unavailable
from support.streams import KafkaLog, Recorder, commands


@pytest.fixture
def log(kafka: str) -> KafkaLog:
    return KafkaLog(kafka)


async def filled(log: KafkaLog, count: int) -> str:
    topic = await log.topic()
    producer = log.backend().producer()
    await producer.start()
    await producer.publish(commands(topic, count))
    await producer.stop()
    return topic.name


async def take(consumer: KafkaConsumer, count: int) -> set[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    async with asyncio.timeout(120):
        while len(found) < count:
            try:
                for records in (await consumer.poll(0.2, 100)).values():
                    found |= {(record.partition, record.offset) for record in records}
            except Unavailable:
                await asyncio.sleep(0.05)
    return found


@pytest.mark.parametrize(
    "error", [KafkaError("Unexpected error during coordination"), RuntimeError("transport is closed")]
)
async def test_a_consumer_whose_background_tasks_died_is_replaced(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    topic, assignee = await filled(log, 30), Recorder()
    backend = KafkaBackend(log.bootstrap, tuning=KafkaTuning(session=6.0))
    consumer = backend.consumer(uuid4().hex, [topic], assignee)
    await consumer.start()

    async def dead(*_arguments: Any, **_options: Any) -> Any:
        raise error

    monkeypatch.setattr(consumer._inner, "getmany", dead)
    consumer.pause([min(assignee.ours)])  # what was known of partitions must not outlive their owner
    assert len(await take(consumer, 30)) == 30
    every = frozenset(Partition(topic, number) for number in range(3))
    assert assignee.story == [("assigned", every), ("revoked", every), ("assigned", every)]
    await consumer.stop()


async def test_a_rebalance_that_fails_on_our_side_is_not_passed_over(log: KafkaLog) -> None:
    class Broken:
        async def assigned(self, partitions: Collection[Partition]) -> None:
            raise LookupError

        async def revoked(self, partitions: Collection[Partition]) -> None:
            raise LookupError

    consumer = log.backend().consumer(uuid4().hex, [await filled(log, 1)], Broken())
    await consumer.start()
    with pytest.raises(RuntimeError, match="rebalance"):
        await consumer.poll(0.1, 10)
    await consumer.stop()


async def test_a_named_instance_takes_up_its_share_at_once_after_a_crash(log: KafkaLog) -> None:
    topic, group = await filled(log, 30), uuid4().hex

    def member() -> KafkaConsumer:
        tuning = KafkaTuning(session=600.0)
        return KafkaBackend(log.bootstrap, instance="one", tuning=tuning).consumer(group, [topic], Recorder())

    crashed, restarted = member(), member()
    await crashed.start()  # and never heard of again, for ten minutes as far as the group knows
    async with asyncio.timeout(120):
        await restarted.start()
        assert len(await take(restarted, 30)) == 30
    await restarted.stop()
    await crashed.stop()
