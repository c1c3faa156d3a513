"""What the runtime relies on of a log, of the one in memory as of Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from sluice_contracts.topics import Topic
from sluice_streaming.backend import Assignee, Consumer, Producer
from sluice_streaming.messages import Message, Outgoing, Partition, Record, header
from sluice_streaming.outcomes import Fenced
from sluice_telemetry.trace import new_trace, tracing
from support.streams import KafkaLog, Log, MemoryLog, Recorder, commands, until, write


@pytest.fixture(params=["memory", "kafka"])
def log(request: pytest.FixtureRequest) -> Log:
    if request.param == "memory":
        return MemoryLog()
    return KafkaLog(request.getfixturevalue("kafka"))


@asynccontextmanager
async def publishing(log: Log) -> AsyncIterator[Producer]:
    producer = log.backend().producer()
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def member(
    log: Log, group: str, topic: Topic, assignee: Assignee | None = None
) -> AsyncIterator[Consumer]:
    consumer = await join(log, group, topic, assignee or Recorder())
    try:
        yield consumer
    finally:
        await consumer.stop()


async def join(log: Log, group: str, topic: Topic, assignee: Assignee) -> Consumer:
    consumer = log.backend().consumer(group, [topic.name], assignee)
    await consumer.start()
    return consumer


async def take(consumer: Consumer, count: int) -> list[Record]:
    """Poll until `count` records came."""
    taken: list[Record] = []
    async with asyncio.timeout(120):
        while len(taken) < count:
            for records in (await consumer.poll(0.2, 100)).values():
                taken.extend(records)
    return taken


async def poll_until(consumer: Consumer, condition: Callable[[], bool]) -> None:
    """Poll, as a member must for a rebalance to go on, until something holds."""

    async def poll() -> None:
        while True:
            await consumer.poll(0.2, 100)

    polling = asyncio.create_task(poll())
    try:
        await until(condition)
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)


async def fill(log: Log, topic: Topic, count: int) -> None:
    async with publishing(log) as producer:
        await producer.publish(commands(topic, count))


def places(records: Sequence[Record]) -> set[tuple[int, int]]:
    return {(record.partition, record.offset) for record in records}


async def test_a_log_has_an_id_that_stays(log: Log) -> None:
    first = await log.backend().cluster()
    assert first
    assert await log.backend().cluster() == first


async def test_a_record_comes_back_as_it_was_published(log: Log) -> None:
    topic = await log.topic()
    sent = Outgoing(topic.name, b"key", b"value \xff", (("a", b"1"), ("a", b"2")))
    async with publishing(log) as producer:
        await producer.send([sent, Outgoing(topic.name, None, None)])
    async with member(log, uuid4().hex, topic) as consumer:
        records = {record.key: record for record in await take(consumer, 2)}
    record = records[b"key"]
    assert (record.topic, record.value, tuple(record.headers)) == (topic.name, sent.value, sent.headers)
    assert record.timestamp > 1_600_000_000_000
    assert records[None].value == b"", "a record needs a key or a value"


async def test_a_keys_records_keep_their_order(log: Log) -> None:
    topic = await log.topic()
    async with publishing(log) as producer:
        for number in range(50):
            await producer.publish([Message(topic, "one key", write(number))])
    async with member(log, uuid4().hex, topic) as consumer:
        records = await take(consumer, 50)
    assert len({record.partition for record in records}) == 1
    assert [record.value for record in records] == [
        b'{"type":"WritePart","job":"job","item":%d}' % number for number in range(50)
    ]


async def test_a_message_carries_the_trace_it_was_published_in(log: Log) -> None:
    topic = await log.topic()
    trace = new_trace()
    with tracing(trace):
        async with publishing(log) as producer:
            await producer.publish([Message(topic, "k", write(1), headers=(("own", b"x"),))])
    async with member(log, uuid4().hex, topic) as consumer:
        (record,) = await take(consumer, 1)
    assert header(record.headers, "traceparent") == str(trace).encode()
    assert header(record.headers, "own") == b"x"


async def test_a_record_too_large_is_refused_for_good(log: Log) -> None:
    topic = await log.topic()
    async with publishing(log) as producer:
        with pytest.raises(ValueError, match="larger"):
            await producer.send([Outgoing(topic.name, b"k", bytes(5 * 1024 * 1024))])
        await producer.send([Outgoing(topic.name, b"k", bytes(3 * 1024 * 1024))])
    assert [len(record.value or b"") for record in await log.read(topic.name)] == [3 * 1024 * 1024]


async def test_a_limit_bounds_what_one_poll_gives(log: Log) -> None:
    topic = await log.topic()
    await fill(log, topic, 40)
    async with member(log, uuid4().hex, topic) as consumer:
        taken: list[Record] = []
        async with asyncio.timeout(120):
            while len(taken) < 40:
                batches = await consumer.poll(0.2, 7)
                assert sum(len(records) for records in batches.values()) <= 7
                for partition, records in batches.items():
                    assert {Partition(r.topic, r.partition) for r in records} == {partition}
                    taken.extend(records)
    assert len(places(taken)) == 40


async def test_members_share_the_partitions_and_none_is_read_by_two(log: Log) -> None:
    topic = await log.topic()
    every = {Partition(topic.name, number) for number in range(3)}
    group, first, second = uuid4().hex, Recorder(), Recorder()
    async with member(log, group, topic, first) as one:
        assert first.ours == every
        joining = asyncio.create_task(join(log, group, topic, second))
        await poll_until(one, lambda: bool(second.ours) and 0 < len(first.ours) < 3)
        assert first.ours | second.ours == every
        assert not first.ours & second.ours
        assert first.story[:2] == [("assigned", frozenset(every)), ("revoked", frozenset(every))]
        await (await joining).stop()
        await poll_until(one, lambda: first.ours == every)


async def test_a_group_goes_on_after_what_it_committed(log: Log) -> None:
    topic = await log.topic()
    group = uuid4().hex
    async with publishing(log) as producer:
        await producer.publish([Message(topic, "one key", write(number)) for number in range(10)])
    async with member(log, group, topic) as consumer:
        records = await take(consumer, 10)
        partition = Partition(topic.name, records[0].partition)
        await consumer.commit({partition: 4})
    async with member(log, group, topic) as consumer:
        assert [record.offset for record in await take(consumer, 6)] == [4, 5, 6, 7, 8, 9]
    assert (await log.committed(group))[partition] == 4


async def test_a_partition_that_moved_cannot_be_committed(log: Log) -> None:
    topic = await log.topic()
    await fill(log, topic, 30)
    group, first, second = uuid4().hex, Recorder(), Recorder()
    async with member(log, group, topic, first) as one:
        await take(one, 30)
        joining = asyncio.create_task(join(log, group, topic, second))
        await poll_until(one, lambda: bool(second.ours) and 0 < len(first.ours) < 3)
        moved = next(iter(second.ours))
        with pytest.raises(Fenced):
            await one.commit({moved: 1})
        await (await joining).stop()
    assert moved not in await log.committed(group)


async def test_a_paused_partition_gives_nothing_until_it_is_resumed(log: Log) -> None:
    topic = await log.topic()
    recorder = Recorder()
    async with member(log, uuid4().hex, topic, recorder) as consumer:
        consumer.pause(recorder.ours)
        await fill(log, topic, 30)
        for _ in range(3):
            assert await consumer.poll(0.1, 100) == {}
        waiting = asyncio.create_task(consumer.poll(3600.0, 100))
        await asyncio.sleep(0.05)
        resumed = min(recorder.ours)
        consumer.resume([resumed])
        async with asyncio.timeout(120):  # at once, not when the poll's hour is over
            batches = await waiting or await consumer.poll(3600.0, 100)
        assert set(batches) == {resumed}
        consumer.resume(recorder.ours)
        await take(consumer, 30 - sum(len(records) for records in batches.values()))


async def test_what_was_read_ahead_is_not_lost_by_pausing(log: Log) -> None:
    topic = await log.topic()
    await fill(log, topic, 60)
    recorder = Recorder()
    async with member(log, uuid4().hex, topic, recorder) as consumer:
        taken: list[Record] = []
        async with asyncio.timeout(120):
            while len(taken) < 60:
                batches = await consumer.poll(0.2, 5)
                for partition, records in batches.items():
                    taken.extend(records)
                    consumer.pause([partition])
                if not batches:
                    consumer.resume(recorder.ours)
    assert len(taken) == len(places(taken)) == 60


async def test_seeking_goes_back(log: Log) -> None:
    topic = await log.topic()
    await fill(log, topic, 30)
    async with member(log, uuid4().hex, topic) as consumer:
        records = await take(consumer, 30)
        partition = Partition(topic.name, records[0].partition)
        count = sum(record.partition == partition.partition for record in records)
        consumer.seek(partition, 1)
        again = await take(consumer, count - 1)
    assert [record.offset for record in again] == list(range(1, count))


async def test_lag_is_what_lies_behind_the_last_record_polled(log: Log) -> None:
    topic = await log.topic()
    await fill(log, topic, 30)
    async with member(log, uuid4().hex, topic) as consumer:
        polled = 0
        while not polled:
            polled = sum(len(records) for records in (await consumer.poll(0.5, 10)).values())
        assert sum((await consumer.lag()).values()) == 30 - polled
        await take(consumer, 30 - polled)
        assert sum((await consumer.lag()).values()) == 0
