"""One face for both backends, so that every test of the runtime runs against memory and against Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Protocol
from uuid import uuid4

from aiokafka import AIOKafkaConsumer

from sluice_contracts.commands import WritePart
from sluice_contracts.events import SEVERAL, each
from sluice_contracts.topics import JOBS_EVENTS, RetryTier, Topic
from sluice_streaming.backend import Assignee, Backend, Consumer, Producer
from sluice_streaming.kafka import KafkaBackend, KafkaTuning
from sluice_streaming.memory import MemoryBroker
from sluice_streaming.messages import Message, Outgoing, Partition, Record
from sluice_streaming.service import Context
from sluice_streaming.topics_admin import connected, create

SHORT_TIERS = (
    RetryTier("short", timedelta(seconds=0.2)),
    RetryTier("long", timedelta(seconds=0.6)),
)


class Log(Protocol):
    """A backend under test, and what a test wants to see of it."""

    def backend(self) -> Backend:
        """Give a backend, as a new process would make it."""

    async def topic(self, **changes: Any) -> Topic:
        """Create a topic of `WritePart` commands with a name of its own."""

    async def read(self, topic: str) -> list[Record]:
        """Give all of a topic's records."""

    async def committed(self, group: str) -> dict[Partition, int]:
        """Give a group's committed offsets."""


def _declare(**changes: Any) -> Topic:
    fields: dict[str, Any] = {
        "name": f"t{uuid4().hex[:12]}",
        "messages": WritePart,
        "key": "item",
        "producers": (),
        "consumers": (),
        "partitions": 3,
        "retries": SHORT_TIERS,
    }
    return Topic(**(fields | changes))


class MemoryLog:
    """The in-memory log."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(partitions=3)

    def backend(self) -> Backend:
        """Give the broker."""
        return self.broker

    async def topic(self, **changes: Any) -> Topic:
        """Declare a topic."""
        return _declare(**changes)

    async def read(self, topic: str) -> list[Record]:
        """Give all of a topic's records."""
        return list(self.broker.records(topic))

    async def committed(self, group: str) -> dict[Partition, int]:
        """Give a group's committed offsets."""
        return dict(self.broker.committed(group))


class KafkaLog:
    """A real broker."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def backend(self) -> Backend:
        """Give a backend with short times."""
        return KafkaBackend(self.bootstrap, tuning=KafkaTuning(session=6.0, rebalance=20.0))

    async def topic(self, **changes: Any) -> Topic:
        """Create a topic with its tiers and dead letters."""
        topic = _declare(**changes)
        await create(self.bootstrap, [topic])
        return topic

    async def read(self, topic: str) -> list[Record]:
        """Give all of a topic's records."""
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=self.bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            wanted = sum((await consumer.end_offsets(list(consumer.assignment()))).values())
            found: list[Record] = []
            while len(found) < wanted:
                for batch in (await consumer.getmany(timeout_ms=500)).values():
                    found.extend(batch)
            return sorted(found, key=lambda record: (record.partition, record.offset))
        finally:
            await consumer.stop()

    async def committed(self, group: str) -> dict[Partition, int]:
        """Give a group's committed offsets."""
        async with connected(self.bootstrap) as admin:
            offsets = await admin.list_consumer_group_offsets(group)
        return {Partition(*p): o.offset for p, o in offsets.items() if o.offset >= 0}


class Recorder:
    """An assignee that only takes notes."""

    def __init__(self) -> None:
        self.ours: set[Partition] = set()
        self.story: list[tuple[str, frozenset[Partition]]] = []

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """Note an assignment."""
        self.ours = set(partitions)
        self.story.append(("assigned", frozenset(partitions)))

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Note a revocation."""
        self.ours -= set(partitions)
        self.story.append(("revoked", frozenset(partitions)))


class Mortal:
    """A backend whose process can die: from then on it neither commits nor publishes nor reads.

    `at` names the call at which it dies by itself (`publish`, `commit`), before that call has an effect.
    """

    def __init__(self, backend: Backend, at: str | None = None) -> None:
        self._backend = backend
        self.at = at
        self.dead = asyncio.Event()

    async def cluster(self) -> str:
        """Give the log's id."""
        return await self._backend.cluster()

    def producer(self) -> Producer:
        """Make a producer that may die."""
        return _MortalProducer(self, self._backend.producer())

    def consumer(self, group: str, topics: Sequence[str], assignee: Assignee) -> Consumer:
        """Make a consumer that may die."""
        return _MortalConsumer(self, self._backend.consumer(group, topics, assignee))

    async def reach(self, point: str) -> None:
        """Die here, if this is the point; a dead process does not go on."""
        if point == self.at:
            self.dead.set()
        if self.dead.is_set():
            await asyncio.Event().wait()


class _MortalProducer:
    def __init__(self, owner: Mortal, inner: Producer) -> None:
        self._owner = owner
        self._inner = inner

    async def start(self) -> None:
        await self._inner.start()

    async def stop(self) -> None:
        await self._inner.stop()

    def ready(self) -> bool | str:
        return self._inner.ready()

    async def publish(self, messages: Sequence[Message]) -> None:
        await self._owner.reach("publish")
        await self._inner.publish(messages)

    async def send(self, records: Sequence[Outgoing]) -> None:
        await self._owner.reach("publish")
        await self._inner.send(records)
        await self._owner.reach("published")


class _MortalConsumer:
    def __init__(self, owner: Mortal, inner: Consumer) -> None:
        self._owner = owner
        self._inner = inner

    async def start(self) -> None:
        await self._inner.start()

    async def stop(self) -> None:
        await self._inner.stop()

    async def poll(self, timeout: float, limit: int) -> Mapping[Partition, Sequence[Record]]:
        await self._owner.reach("poll")
        return await self._inner.poll(timeout, limit)

    def pause(self, partitions: Collection[Partition]) -> None:
        self._inner.pause(partitions)

    def resume(self, partitions: Collection[Partition]) -> None:
        self._inner.resume(partitions)

    def seek(self, partition: Partition, offset: int) -> None:
        self._inner.seek(partition, offset)

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        await self._owner.reach("commit")
        await self._inner.commit(offsets)

    async def lag(self) -> Mapping[Partition, int]:
        return await self._inner.lag()


class Runs(Protocol):
    """A worker or a fold."""

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set."""


@asynccontextmanager
async def running(*runners: Runs) -> AsyncIterator[None]:
    """Run workers for the block, and stop them as SIGTERM would."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(runner.run(stop)) for runner in runners]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


@asynccontextmanager
async def serving(name: str, serve: Callable[[Context], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run a whole service for the block, and stop it as SIGTERM would."""
    context = Context(name)
    service = asyncio.create_task(serve(context))
    try:
        yield
    finally:
        context.stop.set()
        await service


async def until(condition: Callable[[], bool], timeout: float = 120.0) -> None:
    """Wait until something holds; fail if it does not in `timeout` seconds."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - conditions of all kinds have no event
            await asyncio.sleep(0.01)


def told(broker: MemoryBroker) -> list[Any]:
    """Give all events, those about several items taken apart."""
    events = broker.bodies(JOBS_EVENTS)
    return [one for event in events for one in (each(event) if type(event) in SEVERAL else (event,))]


def write(item: int, job: str = "job") -> WritePart:
    """Give a command."""
    return WritePart(job=job, item=item)


def commands(topic: Topic, count: int) -> list[Message]:
    """Give `count` commands with keys of their own."""
    return [Message(topic, f"job/{item}", write(item)) for item in range(count)]
