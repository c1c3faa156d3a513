"""How much the runtime costs: the worker and the fold beside bare aiokafka loops that do the same.

    python tests/bench/bench_streaming.py [--records 40000] [--rounds 5]

Every round runs all contenders one after another against the same broker and the same records, so that what
disturbs the machine disturbs them alike. Printed: the median rate over the rounds, its spread, and its share
of the bare loop's. `SLUICE_KAFKA` names a broker to use; without it one is started.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

sys.path.insert(0, str(Path(__file__).parents[1]))

from sluice_contracts import wire
from sluice_contracts.commands import WritePart
from sluice_contracts.events import DocumentFetched, JobEvent
from sluice_contracts.topics import RETRY_TIERS, Topic
from sluice_streaming.fold import Fold
from sluice_streaming.kafka import KafkaBackend
from sluice_streaming.messages import Delivery, Message, Record
from sluice_streaming.step import Step
from sluice_streaming.topics_admin import create
from sluice_streaming.worker import Worker
from support.stack import running_kafka

JOB = "018f0000-0000-8000-8000-000000000000"
FOLDED = 10  # events to fold for each command to handle: one is so much faster than the other
_mark = uuid4().hex[:8]
COMMANDS = Topic(
    name=f"bench.commands.{_mark}",
    messages=WritePart,
    key="item",
    producers=(),
    consumers=(),
    retries=RETRY_TIERS,
)
EVENTS = Topic(name=f"bench.events.{_mark}", messages=JobEvent, key="job", producers=(), consumers=())
OUT = Topic(name=f"bench.out.{_mark}", messages=JobEvent, key="job", producers=(), consumers=())


def event(item: int) -> Message:
    """Give an event like those of an import."""
    body = DocumentFetched(job=JOB, at=1_700_000_000.0, item=item, size=20_000)
    return Message(OUT, f"{JOB}/{item}", body)


class Bench:
    """Runs contenders against one broker."""

    def __init__(self, bootstrap: str, records: int) -> None:
        self.bootstrap = bootstrap
        self.records = records

    async def prepare(self) -> None:
        """Create the topics and fill those that are read."""
        await create(self.bootstrap, (COMMANDS, EVENTS, OUT))
        producer = KafkaBackend(self.bootstrap).producer()
        await producer.start()
        for start in range(0, self.records * FOLDED, 1000):
            items = range(start, start + 1000)
            await producer.publish([Message(EVENTS, f"{JOB}/{item}", event(item).body) for item in items])
            if start < self.records:
                commands = [WritePart(job=JOB, item=item) for item in items]
                await producer.publish([Message(COMMANDS, f"{JOB}/{c.item}", c) for c in commands])
        await producer.stop()

    async def bare_consume(self) -> float:
        """Read and decode events, nothing else."""
        decode = wire.Decoder[JobEvent](JobEvent).decode
        consumer = self._consumer(EVENTS)
        await consumer.start()
        begun, seen = time.perf_counter(), 0
        while seen < self.records * FOLDED:
            batches = await consumer.getmany(timeout_ms=500)
            for batch in batches.values():
                for record in batch:
                    decode(record.value)
                seen += len(batch)
        seconds = time.perf_counter() - begun
        await consumer.stop()
        return self.records * FOLDED / seconds

    async def fold(self) -> float:
        """Read and decode the same events by the Fold."""
        decode = wire.Decoder[JobEvent](JobEvent).decode
        stop, begun, seen = asyncio.Event(), 0.0, 0

        async def positions(_partitions: Collection[int]) -> Mapping[int, int]:
            nonlocal begun
            begun = time.perf_counter()  # the assignment is there, as when a bare consumer has started
            return {}

        async def apply(records: Sequence[Record]) -> None:
            nonlocal seen
            for record in records:
                decode(record.value or b"")
            seen += len(records)
            if seen >= self.records * FOLDED:
                stop.set()

        fold = Fold(KafkaBackend(self.bootstrap), uuid4().hex, EVENTS, positions, apply)
        run = asyncio.create_task(fold.run(stop))
        await stop.wait()
        seconds = time.perf_counter() - begun
        await run
        return self.records * FOLDED / seconds

    async def bare_pipe(self) -> float:
        """Read and decode commands, send two events for each, wait for the acknowledgements."""
        decode = wire.Decoder[WritePart](WritePart).decode
        consumer = self._consumer(COMMANDS)
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, enable_idempotence=True, max_batch_size=256 * 1024
        )
        await producer.start()
        await consumer.start()
        begun, seen = time.perf_counter(), 0
        while seen < self.records:
            batches = await consumer.getmany(timeout_ms=500, max_records=512)
            futures = []
            for batch in batches.values():
                for record in batch:
                    command = decode(record.value)
                    for _ in range(2):
                        body = wire.encode(event(command.item).body)
                        futures.append(await producer.send(OUT.name, body, key=record.key))
                seen += len(batch)
            for future in futures:
                await future
            await consumer.commit()
        seconds = time.perf_counter() - begun
        await consumer.stop()
        await producer.stop()
        return self.records / seconds

    async def worker_pipe(self) -> float:
        """Do the same by a worker's handler."""

        async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
            message = event(delivery.command.item)
            return (message, message)

        return await self._work(handle)

    async def worker_empty(self) -> float:
        """Run a worker whose handler does nothing."""

        async def handle(_delivery: Delivery[WritePart]) -> Sequence[Message]:
            return ()

        return await self._work(handle)

    async def _work(self, handle: Callable[[Delivery[WritePart]], Awaitable[Sequence[Message]]]) -> float:
        stop, begun, seen = asyncio.Event(), 0.0, 0

        async def counted(delivery: Delivery[WritePart]) -> Sequence[Message]:
            nonlocal begun, seen
            begun = begun or time.perf_counter()
            seen += 1
            if seen >= self.records:
                stop.set()
            return await handle(delivery)

        worker = Worker(KafkaBackend(self.bootstrap), uuid4().hex, [Step(topic=COMMANDS, handle=counted)])
        run = asyncio.create_task(worker.run(stop))
        await stop.wait()
        seconds = time.perf_counter() - begun
        await run
        return self.records / seconds

    def _consumer(self, topic: Topic) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            topic.name,
            bootstrap_servers=self.bootstrap,
            group_id=uuid4().hex,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )


async def measure(bootstrap: str, records: int, rounds: int, only: str | None) -> None:
    """Run all contenders, `rounds` times in turn, and print the table."""
    bench = Bench(bootstrap, records)
    await bench.prepare()
    pairs = [
        ("bare loop: read, decode", "", bench.bare_consume),
        ("fold: read, decode", "bare loop: read, decode", bench.fold),
        ("bare loop: read, send 2", "", bench.bare_pipe),
        ("worker: read, emit 2", "bare loop: read, send 2", bench.worker_pipe),
        ("worker: empty handler", "bare loop: read, decode", bench.worker_empty),
    ]
    rates: dict[str, list[float]] = {name: [] for name, _, _ in pairs}
    for _ in range(rounds):
        for name, _, run in pairs:
            if only is None or only in name:
                rates[name].append(await run())
    print(f"{'':28}{'records/s':>12}{'spread':>18}{'of bare':>10}")
    for name, base, _ in pairs:
        if not rates[name]:
            continue
        median = statistics.median(rates[name])
        spread = f"{min(rates[name]):,.0f}-{max(rates[name]):,.0f}"
        share = f"{median / statistics.median(rates[base]):.0%}" if base and rates[base] else ""
        print(f"{name:28}{median:>12,.0f}{spread:>18}{share:>10}")


@contextmanager
def broker() -> Iterator[str]:
    """Give the broker named by SLUICE_KAFKA, or one started for this."""
    named = os.environ.get("SLUICE_KAFKA")
    if named:
        yield named
        return
    with running_kafka() as server:
        yield server.bootstrap


def main() -> None:
    """Parse arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="contenders whose name has this in it")
    arguments = parser.parse_args()
    with broker() as bootstrap:
        uvloop.run(measure(bootstrap, arguments.records, arguments.rounds, arguments.only))


if __name__ == "__main__":
    main()
