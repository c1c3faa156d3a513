"""Event to row: how long after an event is published its row can be read.

Real Kafka and Postgres; the status service runs as a process of its own. Events are published steadily at
10,000 a second, half of what a fold must at least be able to do and some ten times what the whole stack makes
at its full rate on such a machine (three events per document), and the tables are asked all the time how far
they are. Beside it the limit: the same with nothing but a bare loop that reads and decodes the event. One
process publishes, reads and asks, so all of that is in the figures. Run from the project's root:

    PYTHONPATH=tests .venv/bin/python -m bench.bench_visible
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import typer
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.bench_fold import status_service
from bench.event_stream import events
from bench.measure import console, percentile
from sluice_contracts import wire
from sluice_contracts.topics import JOBS_EVENTS
from sluice_streaming.topics_admin import create
from support.stack import Database, fresh_database, running_kafka, running_postgres

TICK = 0.01
# One event in so many is timed; all are published and folded.
SAMPLE = 20

Told = Sequence[tuple[bytes, bytes]]


@dataclass
class Sent:
    """Timed events on their way: per partition, offset and time of acknowledgement and of sending."""

    waiting: dict[int, deque[tuple[int, float]]] = field(default_factory=dict)
    delays: list[float] = field(default_factory=list)
    asked: bool = True

    def note(self, partition: int, offset: int, at: float) -> None:
        """Take note of an event that was sent at `at`."""
        self.waiting.setdefault(partition, deque()).append((offset, at))

    def visible(self, next_offsets: dict[int, int], now: float) -> None:
        """Note which of them are visible at `now`."""
        for partition, reached in next_offsets.items():
            queue = self.waiting.get(partition, deque())
            while queue and queue[0][0] < reached:
                self.delays.append(now - queue.popleft()[1])

    @property
    def open(self) -> int:
        """How many are not visible yet."""
        return sum(map(len, self.waiting.values()))


Watch = Callable[[Sent], Coroutine[None, None, None]]


async def publish_steadily(
    bootstrap: str, told: Sequence[tuple[bytes, bytes]], rate: float, sent: Sent
) -> float:
    """Publish events at `rate` a second; gives the rate that was reached."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=2, max_batch_size=65_536)
    await producer.start()
    began = time.perf_counter()
    done = 0
    pending: set[asyncio.Future[None]] = set()
    while done < len(told):
        due = min(len(told), int((time.perf_counter() - began) * rate))
        for number in range(done, due):
            key, value = told[number]
            at = time.perf_counter()
            future = await producer.send(JOBS_EVENTS.name, value, key=key)
            if number % SAMPLE == 0:
                task = asyncio.ensure_future(_acknowledged(future, at, sent))
                pending.add(task)
                task.add_done_callback(pending.discard)
        done = max(done, due)
        await asyncio.sleep(TICK)
    await producer.flush()
    await asyncio.gather(*pending)
    reached = len(told) / (time.perf_counter() - began)
    await producer.stop()
    return reached


async def _acknowledged(future: asyncio.Future[object], at: float, sent: Sent) -> None:
    record = await future
    sent.note(record.partition, record.offset, at)  # type: ignore[attr-defined]


async def watch_table(admin: asyncpg.Connection, sent: Sent) -> None:
    """Ask the tables how far they are, until told to stop. A row is there when its offset is."""
    while sent.asked:
        rows = await admin.fetch("SELECT partition, next_offset FROM status.offsets")
        sent.visible({row[0]: row[1] for row in rows}, time.perf_counter())
        await asyncio.sleep(0.002)


async def watch_log(bootstrap: str, sent: Sent) -> None:
    """Read the events with a bare loop, until told to stop."""
    decoder: wire.Decoder[Any] = wire.Decoder(JOBS_EVENTS.messages)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=200)
    await consumer.start()
    consumer.assign([TopicPartition(JOBS_EVENTS.name, n) for n in range(JOBS_EVENTS.partitions)])
    await consumer.seek_to_end()
    for partition in consumer.assignment():
        await consumer.position(partition)
    sent.asked = True
    while sent.asked:
        for partition, records in (await consumer.getmany(timeout_ms=100)).items():
            for record in records:
                decoder.decode(record.value)
            sent.visible({partition.partition: records[-1].offset + 1}, time.perf_counter())
    await consumer.stop()


async def measure_delays(
    bootstrap: str, told: Sequence[tuple[bytes, bytes]], rate: float, watch: Watch
) -> Sent:
    """Publish while `watch` looks; gives the delays."""
    sent = Sent()
    watching = asyncio.create_task(watch(sent))
    await asyncio.sleep(1)
    reached = await publish_steadily(bootstrap, told, rate, sent)
    deadline = time.perf_counter() + 30
    while sent.open and time.perf_counter() < deadline:  # noqa: ASYNC110 - another process is waited for
        await asyncio.sleep(0.05)
    sent.asked = False
    await watching
    if sent.open:
        raise RuntimeError(f"{sent.open} timed events never became visible")
    console.print(f"  published {reached:,.0f} events/s", highlight=False)
    return sent


async def measure(jobs: int, repeats: int, rate: float) -> None:
    """Measure and print."""
    with running_kafka() as kafka, running_postgres() as server, fresh_database(server) as database:
        await create(kafka.bootstrap)
        await _compare(kafka.bootstrap, database, jobs, repeats, rate)


async def _compare(bootstrap: str, database: Database, jobs: int, repeats: int, rate: float) -> None:
    admin = await asyncpg.connect(database.dsn)
    for number in range(repeats + 1):
        told = _encoded(jobs, rate, number * 10)
        limit = await measure_delays(bootstrap, told, rate, lambda it: watch_log(bootstrap, it))
        again = _encoded(jobs, rate, number * 10 + 5)
        async with status_service(bootstrap, database):
            await _caught_up(bootstrap, admin)
            subject = await measure_delays(bootstrap, again, rate, lambda it: watch_table(admin, it))
        if number:  # the first round warms the broker up
            _print("bare loop", limit)
            _print("row visible", subject)
    await admin.close()
    console.print("asked for: row visible p99 under 250 ms")


def _encoded(jobs: int, rate: float, part: int) -> Told:
    return [(event.job.encode(), wire.encode(event)) for event in events(jobs, rate, first=part * jobs)]


async def _caught_up(bootstrap: str, admin: asyncpg.Connection) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    partitions = [TopicPartition(JOBS_EVENTS.name, number) for number in range(JOBS_EVENTS.partitions)]
    while True:
        end = sum((await consumer.end_offsets(partitions)).values())
        if end == await admin.fetchval("SELECT coalesce(sum(next_offset), 0)::bigint FROM status.offsets"):
            break
        await asyncio.sleep(0.2)
    await consumer.stop()


def _print(what: str, sent: Sent) -> None:
    shares = "  ".join(
        f"p{share * 100:g} {percentile(sent.delays, share) * 1000:6.1f} ms" for share in (0.5, 0.9, 0.99, 1)
    )
    console.print(f"{what:12} {shares}  ({len(sent.delays):,} timed)", highlight=False)


def main(jobs: int = 500, repeats: int = 3, rate: float = 10_000) -> None:
    """Measure and print."""
    uvloop.run(measure(jobs, repeats, rate))


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    typer.run(main)
