"""The Kafka producer outlives the aiokafka producers it is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    UnknownTopicOrPartitionError,
)
from hypothesis import given
from hypothesis import strategies as st

from sluice_contracts.topics import BULK_EXPORT_PARTS
from sluice_streaming import kafka_producer
from sluice_streaming.kafka_lot import ALONE_BYTES
from sluice_streaming.kafka_partition import partition_of
from sluice_streaming.kafka_producer import KafkaProducer
from sluice_streaming.messages import Message, Outgoing
from sluice_streaming.outcomes import Unavailable
from support.streams import until, write

RECORD = Outgoing("topic", b"k", b"v", (("h", b"1"),))


OTHER = Outgoing("other topic", b"k", b"v")
BATCH = 3


class Batch:
    """A batch that takes three records."""

    def __init__(self) -> None:
        self.values: list[bytes] = []

    def append(self, *, value: bytes, **_options: Any) -> object | None:
        if len(self.values) == BATCH:
            return None
        self.values.append(value)
        return object()

    def close(self) -> None:
        """Nothing more is appended."""


class Inner:
    """An aiokafka producer that does what the test says."""

    made: list[Inner] = []
    starts: list[Exception] = []

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.futures: list[asyncio.Future[None]] = []
        self.sent: list[tuple[str, list[bytes]]] = []
        self.stopped = False
        self.refused = b"v"
        self.refusal: Exception | None = None
        self.made.append(self)

    async def start(self) -> None:
        if self.starts:
            raise self.starts.pop(0)

    async def stop(self) -> None:
        self.stopped = True

    async def partitions_for(self, _topic: str) -> set[int]:
        return {0}

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[None]:
        assert partition == 0
        self.sent.append((topic, batch.values))
        return await self._sent(*batch.values)

    async def send(self, topic: str, value: bytes, **_options: Any) -> asyncio.Future[None]:
        self.sent.append((topic, [value]))
        return await self._sent(value)

    async def _sent(self, *values: bytes) -> asyncio.Future[None]:
        if self.refusal is not None and self.refused in values:
            raise self.refusal
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        return future


@pytest.fixture
def inners(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Inner]]:
    monkeypatch.setattr(kafka_producer, "AIOKafkaProducer", Inner)
    Inner.made, Inner.starts = [], []
    yield Inner.made
    Inner.made, Inner.starts = [], []


def producer(patience: float = 10.0) -> KafkaProducer:
    return KafkaProducer("broker:9092", patience=patience, pace=0.005)


async def test_it_is_idempotent_and_waits_for_all_replicas(inners: list[Inner]) -> None:
    await producer().start()
    options = inners[0].options
    assert (options["enable_idempotence"], options["acks"]) == (True, "all")


async def test_starting_waits_for_a_broker(inners: list[Inner]) -> None:
    Inner.starts = [KafkaConnectionError(), OSError()]
    made = producer()
    assert made.ready() == "waiting for kafka"
    await made.start()
    assert len(inners) == 3
    assert [inner.stopped for inner in inners] == [True, True, False]
    assert made.ready() is True


async def test_it_lives_from_its_first_user_to_its_last(inners: list[Inner]) -> None:
    shared = producer()
    await asyncio.gather(shared.start(), shared.start())
    await shared.stop()
    assert [inner.stopped for inner in inners] == [False]
    await shared.stop()
    assert [inner.stopped for inner in inners] == [True]


async def test_a_send_ends_when_everything_is_acknowledged(inners: list[Inner]) -> None:
    made = producer()
    await made.start()
    sending = asyncio.create_task(made.send([RECORD, OTHER]))
    await until(lambda: len(inners[0].futures) == 2)
    inners[0].futures[0].set_result(None)
    await asyncio.sleep(0)
    assert not sending.done()
    inners[0].futures[1].set_result(None)
    await sending


async def test_a_broken_producer_is_replaced_and_everyone_told_to_publish_again(inners: list[Inner]) -> None:
    made = producer()
    await made.start()
    sends = [asyncio.create_task(made.send([record])) for record in (RECORD, OTHER, RECORD)]
    await until(lambda: len(inners[0].futures) == 2)
    inners[0].futures[1].set_exception(OutOfOrderSequenceNumber())
    for outcome in await asyncio.gather(*sends, return_exceptions=True):
        assert isinstance(outcome, Unavailable)
    again = asyncio.create_task(made.send([RECORD]))
    await until(lambda: len(inners) == 2 and bool(inners[1].futures))
    inners[1].futures[0].set_result(None)
    await again
    assert inners[0].stopped


async def test_publishing_is_given_up_when_patience_ends(inners: list[Inner]) -> None:
    made = producer(patience=0.01)
    await made.start()
    await made.publish([])
    with pytest.raises(Unavailable, match="kafka"):
        await made.publish([Message(BULK_EXPORT_PARTS, "k", write(1))])
    assert len(inners) == 1, "a slow broker is no reason for a new producer"


async def test_silence_makes_it_unready(inners: list[Inner], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_producer, "_SLOW_SECONDS", 0.0)
    made = producer()
    await made.start()
    sending = asyncio.create_task(made.send([RECORD]))
    await until(lambda: made.ready() == "waiting for kafka")
    inners[0].futures[0].set_result(None)
    await sending
    assert made.ready() is True


async def test_what_is_too_large_or_has_no_topic_breaks_no_producer(inners: list[Inner]) -> None:
    made = producer()
    await made.start()
    for refusal, outcome in (
        (MessageSizeTooLargeError(), ValueError),
        (UnknownTopicOrPartitionError(), Unavailable),
    ):
        inners[0].refusal = refusal
        with pytest.raises(outcome):
            await made.send([RECORD])
    assert len(inners) == 1


async def test_a_cancelled_send_leaves_the_others_alone(inners: list[Inner]) -> None:
    made = producer()
    await made.start()
    first, second = (asyncio.create_task(made.send([RECORD])) for _ in range(2))
    await until(lambda: len(inners[0].futures) == 1)
    first.cancel()
    await asyncio.sleep(0)
    inners[0].futures[0].set_result(None)
    await second
    with pytest.raises(asyncio.CancelledError):
        await first


async def acknowledged(inner: Inner, count: int) -> None:
    """Acknowledge so many batches, once they are sent."""
    await until(lambda: len(inner.futures) == count)
    for future in inner.futures:
        if not future.done():
            future.set_result(None)


async def test_concurrent_sends_share_batches(inners: list[Inner]) -> None:
    made = KafkaProducer("broker:9092", patience=10.0, pace=0.1)
    await made.start()
    await asyncio.gather(made.send([RECORD]), acknowledged(inners[0], 1))
    sends = (made.send([RECORD]) for _ in range(BATCH + 1))
    await asyncio.gather(*sends, acknowledged(inners[0], 3))
    assert inners[0].sent == [("topic", [b"v"]), ("topic", [b"v"] * BATCH), ("topic", [b"v"])]


async def test_a_batch_is_not_sent_before_the_pace_lets_it(inners: list[Inner]) -> None:
    made = KafkaProducer("broker:9092", patience=10.0, pace=3600.0)
    await made.start()
    await asyncio.gather(made.send([RECORD]), acknowledged(inners[0], 1))
    waiting = asyncio.create_task(made.send([RECORD]))
    for _ in range(100):
        await asyncio.sleep(0)
    assert inners[0].sent == [("topic", [b"v"])]
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_record_that_is_refused_fails_alone(inners: list[Inner]) -> None:
    made = producer()
    await made.start()
    inners[0].refusal, inners[0].refused = MessageSizeTooLargeError(), b"large"
    good = asyncio.create_task(made.send([RECORD]))
    bad = asyncio.create_task(made.send([Outgoing("topic", b"k", b"large")]))
    await until(lambda: len(inners[0].futures) == 1)
    inners[0].futures[0].set_result(None)
    await good
    with pytest.raises(ValueError, match="larger"):
        await bad


async def test_a_large_record_is_not_gathered(inners: list[Inner]) -> None:
    made = KafkaProducer("broker:9092", patience=10.0, pace=3600.0)
    await made.start()
    for value in (b"v", b"x" * ALONE_BYTES):
        sending = asyncio.create_task(made.send([Outgoing("topic", b"k", value)]))
        await until(lambda: bool(inners[0].futures))
        inners[0].futures.pop().set_result(None)
        await sending
    assert [len(values[0]) for _, values in inners[0].sent] == [1, ALONE_BYTES], "the pace would hold it back"


async def test_stopping_sends_what_is_gathered(inners: list[Inner]) -> None:
    made = KafkaProducer("broker:9092", patience=10.0, pace=3600.0)
    await made.start()
    sending = asyncio.create_task(made.send([RECORD]))
    await until(lambda: len(inners[0].futures) == 1)
    inners[0].futures[0].set_result(None)
    await sending
    late = asyncio.create_task(made.send([RECORD]))
    await asyncio.sleep(0)
    stopping = asyncio.create_task(made.stop())
    await until(lambda: len(inners[0].futures) == 2)
    inners[0].futures[1].set_result(None)
    await late
    await stopping
    assert inners[0].stopped


@given(st.binary(), st.integers(1, 64))
def test_a_key_has_one_partition(key: bytes, count: int) -> None:
    every = list(range(count))
    assert partition_of(key, every, every) == partition_of(key, every, []) < count


@given(st.text(), st.integers(1, 64), st.integers(0, 1000))
def test_a_jobs_numbered_work_is_dealt_out_in_turn(job: str, count: int, run: int) -> None:
    every = list(range(count))
    numbers = range(run * count, (run + 1) * count)
    assert sorted(partition_of(f"{job or 'job'}/{n}".encode(), every, every) for n in numbers) == every


@given(st.sampled_from([20, 49, 50, 51, 64, 100]), st.integers(2, 16))
def test_work_that_is_numbered_in_steps_reaches_every_partition(step: int, count: int) -> None:
    every = list(range(count))
    assert {partition_of(f"job/{n * step}".encode(), every, every) for n in range(20 * count)} == set(every)


def test_records_without_a_key_go_to_a_partition_that_can_be_written() -> None:
    assert partition_of(None, [0, 1, 2], [1]) == 1
    assert partition_of(None, [0], []) == 0
