"""An in-memory log with topics, partitions, groups, rebalances and commits, for tests.

It keeps Kafka's promises and breaks on demand: `crash` takes a consumer away without a word, as `kill -9`
does, and `available` takes the whole log away.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sluice_contracts import wire
from sluice_contracts.topics import Topic
from sluice_streaming.backend import Assignee
from sluice_streaming.clock import Clock, SystemClock
from sluice_streaming.memory_groups import Group, MemoryConsumer
from sluice_streaming.messages import Headers, Message, Outgoing, Partition, outgoing
from sluice_streaming.outcomes import Unavailable


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """A record in memory; see `Record`."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp: int = 0


@dataclass
class MemoryBroker:
    """The log, and the backend that makes its producers and consumers.

    Parameters
    ----------
    partitions
        How many each topic has; topics come into being when they are first named.
    clock
        Stamps the records.
    max_bytes
        The largest value accepted.
    name
        Its id.
    """

    partitions: int = 4
    clock: Clock = field(default_factory=SystemClock)
    max_bytes: int = 4 * 1024 * 1024
    available: bool = True
    name: str = "memory"

    def __post_init__(self) -> None:
        self._logs: dict[Partition, list[MemoryRecord]] = {}
        self._groups: dict[str, Group] = {}
        self._changed = asyncio.Event()
        self._turn = 0

    # -- as a backend

    async def cluster(self) -> str:
        """Give the log's id."""
        return self.name

    def producer(self) -> MemoryProducer:
        """Make a producer."""
        return MemoryProducer(self)

    def consumer(self, group: str, topics: Sequence[str], assignee: Assignee) -> MemoryConsumer:
        """Make a member of `group`."""
        return MemoryConsumer(self, self.group(group), topics, assignee)

    # -- for tests

    async def publish(self, *messages: Message) -> None:
        """Publish messages."""
        await self.producer().publish(messages)

    def append(self, record: Outgoing, partition: int | None = None) -> MemoryRecord:
        """Append a record, on a partition of the caller's choice if it has one."""
        if partition is None:
            partition = self._partition(record.key)
        log = self.log(Partition(record.topic, partition))
        stored = MemoryRecord(
            record.topic,
            partition,
            len(log),
            record.key,
            b"" if record.value is None and record.key is None else record.value,
            record.headers,
            int(self.clock.now() * 1000),
        )
        log.append(stored)
        self.wake()
        return stored

    def records(self, topic: str) -> list[MemoryRecord]:
        """Give a topic's records, partition by partition."""
        return [r for p in range(self.partitions) for r in self.log(Partition(topic, p))]

    def bodies(self, topic: Topic) -> list[Any]:
        """Give a topic's decoded messages, partition by partition."""
        decoder: wire.Decoder[Any] = wire.Decoder(topic.messages)
        return [decoder.decode(record.value or b"") for record in self.records(topic.name)]

    def committed(self, group: str) -> Mapping[Partition, int]:
        """Give a group's committed offsets."""
        return dict(self.group(group).offsets)

    async def crash(self, consumer: MemoryConsumer) -> None:
        """Take a consumer away as `kill -9` does: it commits nothing and is told nothing."""
        await consumer.vanish()

    def set_available(self, available: bool) -> None:
        """Take the log away, or bring it back."""
        self.available = available
        self.wake()

    # -- for its consumers

    def group(self, name: str) -> Group:
        """Give the group of that name."""
        return self._groups.setdefault(name, Group(self))

    def log(self, partition: Partition) -> list[MemoryRecord]:
        """Give a partition's records."""
        return self._logs.setdefault(partition, [])

    def wake(self) -> None:
        """Wake every poll that waits."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self) -> None:
        """Wait until something happened."""
        await self._changed.wait()

    def require(self) -> None:
        """Raise Unavailable if the log is away."""
        if not self.available:
            raise Unavailable("kafka")

    def _partition(self, key: bytes | None) -> int:
        if key is None:
            self._turn += 1
            return self._turn % self.partitions
        return zlib.crc32(key) % self.partitions


class MemoryProducer:
    """A producer; see `Producer`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def start(self) -> None:
        """Wait until the log is there."""
        while not self._broker.available:
            await self._broker.change()

    async def stop(self) -> None:
        """Do nothing: nothing is ever under way."""

    def ready(self) -> bool | str:
        """Say whether the log is there."""
        return self._broker.available or "waiting for kafka"

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish messages; see `Producer`."""
        await self.send([outgoing(message) for message in messages])

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Publish bytes; see `Producer`."""
        await asyncio.sleep(0)
        self._broker.require()
        for record in records:
            if len(record.value or b"") > self._broker.max_bytes:
                raise ValueError("larger than the log accepts")
        for record in records:
            self._broker.append(record)
