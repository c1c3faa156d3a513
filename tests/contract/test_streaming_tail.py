"""Reading a topic outside of any group: memory and Kafka alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from sluice_contracts.commands import WritePart
from sluice_contracts.topics import Topic
from sluice_streaming.messages import Message
from sluice_streaming.tail import KafkaTail, MemoryTail, Tail
from support.streams import KafkaLog, MemoryLog

Both = tuple[MemoryLog | KafkaLog, Topic, Tail]


@pytest.fixture(params=["memory", "kafka"])
async def both(request: pytest.FixtureRequest) -> AsyncIterator[Both]:
    log: MemoryLog | KafkaLog
    if request.param == "memory":
        log = MemoryLog()
        topic = await log.topic()
        tail: Tail = MemoryTail(log.broker, topic.name)
    else:
        log = KafkaLog(request.getfixturevalue("kafka"))
        topic = await log.topic()
        tail = KafkaTail(log.bootstrap, topic.name)
    yield log, topic, tail
    await tail.stop()


async def publish(log: MemoryLog | KafkaLog, topic: Topic, *items: int) -> None:
    producer = log.backend().producer()
    await producer.start()
    await producer.publish([Message(topic, f"k{item}", WritePart(job="j", item=item)) for item in items])
    await producer.stop()


async def keys(tail: Tail, count: int) -> list[bytes]:
    found: list[bytes] = []
    async with asyncio.timeout(120):
        while len(found) < count:
            found += [record.key or b"" for record in await tail.poll(0.2)]
    return found


async def test_only_what_comes_after_the_start_is_read_and_all_of_it(both: Both) -> None:
    log, topic, tail = both
    await publish(log, topic, *range(10))
    begin = await tail.start()
    assert sum(begin.values()) == 10
    assert sorted(begin) == [0, 1, 2]
    await publish(log, topic, *range(10, 20))
    assert sorted(await keys(tail, 10)) == sorted(f"k{item}".encode() for item in range(10, 20))


async def test_everyone_who_reads_sees_everything(both: Both) -> None:
    log, topic, tail = both
    await tail.start()
    second = (
        MemoryTail(log.broker, topic.name)
        if isinstance(log, MemoryLog)
        else KafkaTail(log.bootstrap, topic.name)
    )
    await second.start()
    await publish(log, topic, *range(5))
    assert sorted(await keys(tail, 5)) == sorted(await keys(second, 5))
    await second.stop()


async def test_a_stretch_is_given_whole_and_no_more_beside_what_comes(both: Both) -> None:
    log, topic, tail = both
    await publish(log, topic, *range(30))
    ends = await tail.start()
    number = max(ends, key=lambda each: ends[each])
    found = [record.offset async for some in tail.stretch(number, 1, ends[number]) for record in some]
    assert found == list(range(1, ends[number]))
    assert [each async for each in tail.stretch(number, ends[number], ends[number])] == []


async def test_a_stretch_ends_with_the_log_if_that_does_not_reach_so_far(both: Both) -> None:
    log, topic, tail = both
    await publish(log, topic, *range(30))
    for number, end in (await tail.start()).items():
        found = [record.offset async for some in tail.stretch(number, 0, end + 9) for record in some]
        assert found == list(range(end))


async def test_a_stretch_is_given_whole_however_slowly_it_comes(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = KafkaLog(kafka)
    topic = await log.topic()
    await publish(log, topic, *range(30))
    tail = KafkaTail(kafka, topic.name)
    ends = await tail.start()
    await tail.stop()
    number = max(ends, key=lambda each: ends[each])
    prompt, asked = AIOKafkaConsumer.getmany, 0

    async def slow(*arguments: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        return await prompt(*arguments, **{**options, "max_records": 3}) if asked % 3 == 0 else {}

    monkeypatch.setattr(AIOKafkaConsumer, "getmany", slow)
    found = [record.offset async for some in tail.stretch(number, 0, ends[number]) for record in some]
    assert found == list(range(ends[number]))


async def test_reading_again_begins_at_the_end_again(both: Both) -> None:
    log, topic, tail = both
    await tail.start()
    await publish(log, topic, 1)
    await keys(tail, 1)
    await tail.stop()
    await publish(log, topic, 2)
    await tail.start()
    await publish(log, topic, 3)
    assert await keys(tail, 1) == [b"k3"]
