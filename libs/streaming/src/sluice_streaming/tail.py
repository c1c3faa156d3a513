"""Reading a topic outside of any group: what comes from now on, or a stretch that is on the log already.

Whoever watches has no share in the work: it commits nothing, and everyone who watches sees everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition

from sluice_streaming.faults import FAULTS, closed
from sluice_streaming.memory import MemoryBroker
from sluice_streaming.messages import Partition, Record
from sluice_streaming.outcomes import Unavailable

_STOP_SECONDS = 5.0
_AT_ONCE = 2000


class Tail(Protocol):
    """One topic, read by one task."""

    async def start(self) -> Mapping[int, int]:
        """Begin at the topic's end; give the offset of the first record to come, by partition.

        Raises
        ------
        Unavailable
            The log cannot be reached now.
        """

    async def stop(self) -> None:
        """Disconnect."""

    async def poll(self, seconds: float) -> Sequence[Record]:
        """Give the records that have come, in the order of each partition; waits so long for the first.

        Raises
        ------
        Unavailable
            The log cannot be reached now; poll again.
        """

    async def first(self, partition: int) -> int:
        """Give the offset of the oldest record of a partition that is kept, or of the first to come.

        Raises
        ------
        Unavailable
            The log cannot be reached now.
        """

    def stretch(self, partition: int, first: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """Give a partition's records from the offset `first` up to before `end`, as far as they are kept.

        It may be read beside `poll`, and waits for what is slow to come.

        Raises
        ------
        Unavailable
            The log cannot be reached now.
        """


class KafkaTail:
    """See `Tail`."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._consumer: Any = None

    async def _begun(self, *topics: str) -> Any:
        # Without a group, whoever names topics is assigned all of their partitions.
        consumer = AIOKafkaConsumer(
            *topics,
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=200,
        )
        try:
            await consumer.start()
        except FAULTS as error:
            await closed(consumer.stop(), _STOP_SECONDS)
            raise Unavailable("kafka") from error
        return consumer

    async def start(self) -> Mapping[int, int]:
        """See `Tail.start`."""
        consumer = await self._begun(self._topic)
        try:
            ends = await consumer.end_offsets(list(consumer.assignment()))
            for partition, end in ends.items():
                consumer.seek(partition, end)
        except FAULTS as error:
            await closed(consumer.stop(), _STOP_SECONDS)
            raise Unavailable("kafka") from error
        self._consumer = consumer
        return {partition.partition: end for partition, end in ends.items()}

    async def stop(self) -> None:
        """See `Tail.stop`."""
        if self._consumer is not None:
            await closed(self._consumer.stop(), _STOP_SECONDS)
            self._consumer = None

    async def poll(self, seconds: float) -> Sequence[Record]:
        """See `Tail.poll`."""
        try:
            found = await self._consumer.getmany(timeout_ms=round(seconds * 1000), max_records=_AT_ONCE)
        except FAULTS as error:
            raise Unavailable("kafka") from error
        return [record for records in found.values() for record in records]

    async def first(self, partition: int) -> int:
        """See `Tail.first`."""
        consumer = await self._begun()
        place = TopicPartition(self._topic, partition)
        try:
            found: int = (await consumer.beginning_offsets([place]))[place]
        except FAULTS as error:
            raise Unavailable("kafka") from error
        else:
            return found
        finally:
            await closed(consumer.stop(), _STOP_SECONDS)

    async def stretch(self, partition: int, first: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """See `Tail.stretch`."""
        consumer = await self._begun()
        place = TopicPartition(self._topic, partition)
        try:
            consumer.assign([place])
            begin = (await consumer.beginning_offsets([place]))[place]
            consumer.seek(place, max(first, begin))
            # The consumer's own place passes by gaps too; that nothing comes for a while says nothing.
            while await consumer.position(place) < end:
                found = (await consumer.getmany(place, timeout_ms=2000, max_records=_AT_ONCE)).get(place, [])
                if records := [record for record in found if record.offset < end]:
                    yield records
                if not found and (await consumer.end_offsets([place]))[place] < end:
                    return  # another log, which does not reach so far
        except FAULTS as error:
            raise Unavailable("kafka") from error
        finally:
            await closed(consumer.stop(), _STOP_SECONDS)


class MemoryTail:
    """See `Tail`."""

    def __init__(self, broker: MemoryBroker, topic: str) -> None:
        self._broker = broker
        self._topic = topic
        self._next: dict[int, int] = {}

    async def start(self) -> Mapping[int, int]:
        """See `Tail.start`."""
        self._broker.require()
        self._next = {
            number: len(self._broker.log(Partition(self._topic, number)))
            for number in range(self._broker.partitions)
        }
        return dict(self._next)

    async def stop(self) -> None:
        """See `Tail.stop`."""

    async def poll(self, seconds: float) -> Sequence[Record]:
        """See `Tail.poll`."""
        if not (found := self._come()):
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._broker.change()
            found = self._come()
        return found

    def _come(self) -> list[Record]:
        self._broker.require()
        found: list[Record] = []
        for number, at in self._next.items():
            log = self._broker.log(Partition(self._topic, number))
            found += log[at:]
            self._next[number] = len(log)
        return found

    async def first(self, partition: int) -> int:
        """See `Tail.first`."""
        self._broker.require()
        log = self._broker.log(Partition(self._topic, partition))
        return log[0].offset if log else 0

    async def stretch(self, partition: int, first: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """See `Tail.stretch`."""
        self._broker.require()
        if found := self._broker.log(Partition(self._topic, partition))[max(0, first) : end]:
            yield found
