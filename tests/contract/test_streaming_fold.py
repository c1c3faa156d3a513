"""The fold's promises, over the log in memory and over Kafka: the store alone says how far it has come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from uuid import uuid4

import pytest

from sluice_contracts.topics import Topic
from sluice_streaming.fold import Fold
from sluice_streaming.messages import Record
from sluice_streaming.outcomes import Fenced, Unavailable
from support.streams import KafkaLog, Log, MemoryLog, commands, running, until


@pytest.fixture(params=["memory", "kafka"])
def log(request: pytest.FixtureRequest) -> Log:
    if request.param == "memory":
        return MemoryLog()
    return KafkaLog(request.getfixturevalue("kafka"))


class Store:
    """Rows and offsets, written together or not at all, as by one transaction."""

    def __init__(self) -> None:
        self.offsets: dict[int, int] = {}
        self.rows: list[tuple[int, int]] = []
        self.away = False
        self.delay = 0.0
        self.batches = 0
        self.refused = 0

    async def positions(self, partitions: Collection[int]) -> Mapping[int, int]:
        if self.away:
            raise Unavailable("postgres")
        return {p: self.offsets[p] for p in partitions if p in self.offsets}

    async def apply(self, records: Sequence[Record]) -> None:
        await asyncio.sleep(self.delay)
        if self.away:
            raise Unavailable("postgres")
        offsets = dict(self.offsets)
        for record in records:
            if offsets.get(record.partition, 0) != record.offset:
                self.refused += 1
                raise Fenced
            offsets[record.partition] = record.offset + 1
        self.offsets = offsets
        self.rows.extend((record.partition, record.offset) for record in records)
        self.batches += 1

    def complete(self, count: int) -> bool:
        return len(self.rows) == len(set(self.rows)) == count


async def fill(log: Log, topic: Topic, count: int) -> None:
    producer = log.backend().producer()
    await producer.start()
    await producer.publish(commands(topic, count))
    await producer.stop()


def fold(log: Log, topic: Topic, store: Store, group: str, max_batch: int = 50) -> Fold:
    return Fold(log.backend(), group, topic, store.positions, store.apply, max_batch=max_batch)


async def test_every_record_is_applied_once_and_in_order(log: Log) -> None:
    topic, store, group = await log.topic(retries=()), Store(), uuid4().hex
    await fill(log, topic, 300)
    async with running(fold(log, topic, store, group)):
        await until(lambda: len(store.rows) >= 300)
    assert store.complete(300)
    assert store.refused == 0
    assert {p.partition: at for p, at in (await log.committed(group)).items()} == store.offsets


async def test_a_new_fold_goes_on_where_the_store_is_whatever_kafka_was_told(log: Log) -> None:
    topic, store, group = await log.topic(retries=()), Store(), uuid4().hex
    await fill(log, topic, 90)
    async with running(fold(log, topic, store, group)):
        await until(lambda: len(store.rows) >= 90)
    # A crash after the commit to Kafka that the store does not know of, and one before it.
    for partition in list(store.offsets):
        store.offsets[partition] -= 2
    store.rows = [row for row in store.rows if row[1] < store.offsets[row[0]]]
    async with running(fold(log, topic, store, group)):
        await until(lambda: len(store.rows) >= 90)
    assert store.complete(90)
    store.offsets, store.rows = {}, []  # an emptied store folds everything anew
    async with running(fold(log, topic, store, group)):
        await until(lambda: len(store.rows) >= 90)
    assert store.complete(90)


async def test_a_batch_waits_in_place_for_the_store(log: Log) -> None:
    topic, store = await log.topic(retries=()), Store()
    store.away = True
    await fill(log, topic, 60)
    folding = fold(log, topic, store, uuid4().hex)
    async with running(folding):
        await until(lambda: folding.ready() == "waiting for postgres")
        store.away = False
        await until(lambda: len(store.rows) >= 60)
        await until(lambda: folding.ready() is True)
    assert store.complete(60)


async def test_a_fold_that_was_fenced_reads_on_from_the_store(log: Log) -> None:
    topic, store = await log.topic(retries=()), Store()
    store.delay = 0.02
    await fill(log, topic, 200)
    async with running(fold(log, topic, store, uuid4().hex, max_batch=10)):
        await until(lambda: len(store.rows) >= 30)
        # As if another process had owned the partitions for a while, and its transaction was undone.
        for partition, offset in store.offsets.items():
            store.offsets[partition] = max(0, offset - 3)
        store.rows = [row for row in store.rows if row[1] < store.offsets[row[0]]]
        await until(lambda: len(store.rows) >= 200)
    assert store.complete(200)
    assert store.refused > 0


async def test_two_folds_share_the_topic_and_apply_nothing_twice(log: Log) -> None:
    topic, store, group = await log.topic(retries=()), Store(), uuid4().hex
    store.delay = 0.01
    await fill(log, topic, 600)
    async with running(fold(log, topic, store, group, max_batch=5)):
        await until(lambda: len(store.rows) >= 20)
        async with running(fold(log, topic, store, group, max_batch=5)):
            await until(lambda: len(store.rows) >= 300)
        await until(lambda: len(store.rows) >= 600)
    assert store.complete(600)


async def test_the_next_batch_is_fetched_while_one_is_applied(log: Log) -> None:
    topic, store = await log.topic(retries=()), Store()
    gate, sizes = asyncio.Event(), []

    async def apply(records: Sequence[Record]) -> None:
        sizes.append(len(records))
        await gate.wait()
        await store.apply(records)

    folding = Fold(log.backend(), uuid4().hex, topic, store.positions, apply, max_batch=20)
    async with running(folding):
        await fill(log, topic, 100)
        await until(lambda: len(sizes) == 1)
        gate.set()
        await until(lambda: len(store.rows) >= 100)
    assert store.complete(100)
    # The last portion that is read may go beyond the limit; a portion is no larger than that.
    assert max(sizes) < 2 * 20


class Reading:
    """Notes how many records were read, whether or not they were applied."""

    def __init__(self) -> None:
        self.records = 0

    def __call__(self, prepared: list[Record] | None, records: Sequence[Record]) -> list[Record]:
        self.records += len(records)
        return [*(prepared or []), *records]


async def test_a_paced_fold_that_keeps_up_leaves_what_is_new_with_the_broker(log: Log) -> None:
    topic, store, reading = await log.topic(retries=()), Store(), Reading()
    folding = Fold(
        log.backend(), uuid4().hex, topic, store.positions, store.apply, prepare=reading, pace=3600.0
    )
    async with running(folding):
        await fill(log, topic, 1)
        await until(lambda: len(store.rows) == 1)
        await fill(log, topic, 20)
        await asyncio.sleep(0.5)
        assert reading.records == 1


async def test_a_paced_fold_takes_all_that_came_before_its_next_batch_begins(log: Log) -> None:
    topic, store, reading, sizes = await log.topic(retries=()), Store(), Reading(), list[int]()

    async def apply(records: Sequence[Record]) -> None:
        sizes.append(len(records))
        await store.apply(records)

    folding = Fold(log.backend(), uuid4().hex, topic, store.positions, apply, prepare=reading, pace=8.0)
    async with running(folding):
        await fill(log, topic, 1)
        await until(lambda: len(store.rows) == 1)
        # Of these the client fetches the first as it comes, and holds it; the others wait with the broker.
        await fill(log, topic, 1)
        await asyncio.sleep(0.2)
        await fill(log, topic, 20)
        await asyncio.sleep(0.2)
        assert reading.records == 1
        await until(lambda: len(store.rows) == 22)
    assert sizes == [1, 21]


async def test_a_paced_fold_that_is_behind_reads_on(log: Log) -> None:
    topic, store, reading = await log.topic(retries=()), Store(), Reading()
    folding = Fold(
        log.backend(),
        uuid4().hex,
        topic,
        store.positions,
        store.apply,
        prepare=reading,
        pace=3600.0,
        now=lambda: time.time() + 7200.0,
    )
    async with running(folding):
        await fill(log, topic, 1)
        await until(lambda: len(store.rows) == 1)
        await fill(log, topic, 20)
        await until(lambda: reading.records == 21)
        assert len(store.rows) == 1
