"""Status fold: events a second, beside a bare aiokafka loop that decodes the same events.

Real Kafka and Postgres; the service runs as a process of its own, and so does the loop. They take turns over
one topic, so both meet the same noise. Run from the project's root:

    PYTHONPATH=tests .venv/bin/python -m bench.bench_fold
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import typer
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.event_stream import events
from bench.measure import Figure, console, report, side_by_side
from sluice_contracts import wire
from sluice_contracts.cloudevents import headers_of
from sluice_contracts.topics import JOBS_EVENTS
from sluice_streaming.topics_admin import create
from support.stack import Database, fresh_database, running_kafka, running_postgres

# How much of the topic passes before the clock starts: connections, plans and caches are warm by then.
WARM = 0.1
peaks: list[float] = []


async def produce(bootstrap: str, jobs: int) -> int:
    """Fill jobs.events and give how many records it holds."""
    await create(bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20, max_batch_size=262_144)
    await producer.start()
    told = events(jobs)
    for event in told:
        headers = list(headers_of(event))
        await producer.send(JOBS_EVENTS.name, wire.encode(event), key=event.job.encode(), headers=headers)
    await producer.stop()
    return len(told)


async def bare_loop(bootstrap: str, total: int) -> float:
    """Read the topic from its start and decode every record; give events a second."""
    decoder: wire.Decoder[Any] = wire.Decoder(JOBS_EVENTS.messages)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    partitions = [TopicPartition(JOBS_EVENTS.name, number) for number in range(JOBS_EVENTS.partitions)]
    consumer.assign(partitions)
    await consumer.seek_to_beginning()
    seen, began, warm = 0, 0.0, 0
    while seen < total:
        for records in (await consumer.getmany(timeout_ms=1000, max_records=10_000)).values():
            for record in records:
                decoder.decode(record.value)
            seen += len(records)
        if not began and seen >= total * WARM:
            began, warm = time.perf_counter(), seen
    rate = (seen - warm) / (time.perf_counter() - began)
    await consumer.stop()
    return rate


async def measure_bare(bootstrap: str, total: int) -> float:
    """Run the bare loop in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.bench_fold",
        "bare",
        bootstrap,
        str(total),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return float(out)


@contextlib.asynccontextmanager
async def status_service(bootstrap: str, database: Database) -> AsyncIterator[int]:
    """Run the status service; gives its process id."""
    environment = {
        **os.environ,
        "SLUICE_KAFKA": bootstrap,
        "SLUICE_POSTGRES": database.dsn_for("status"),
        "SLUICE_LOG_LEVEL": "WARNING",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "sluice_status", env=environment)
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def measure_fold(bootstrap: str, database: Database, total: int) -> float:
    """Let the service fold the whole topic into empty tables; give events a second."""
    admin = await asyncpg.connect(database.dsn)
    await admin.execute("TRUNCATE status.jobs, status.job_items, status.offsets, status.outbox, status.dead")
    began, warm, folded = 0.0, 0, 0
    async with status_service(bootstrap, database) as pid:
        # The announcements of the runs before are in the topic by now, too: all is folded at `end`.
        end = await _end(bootstrap)
        while folded < end:
            await asyncio.sleep(0.02)
            folded = await admin.fetchval("SELECT coalesce(sum(next_offset), 0)::bigint FROM status.offsets")
            if not began and folded >= total * WARM:
                began, warm = time.perf_counter(), folded
        rate = (folded - warm) / (time.perf_counter() - began)
        peaks.append(peak_memory(pid))
    await _check(admin)
    await admin.close()
    return rate


def peak_memory(pid: int) -> float:
    """Give the most memory a process has held so far, in MB (0 where the system does not tell)."""
    path = Path(f"/proc/{pid}/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", path.read_text()) if path.exists() else None
    return int(found.group(1)) / 1024 if found else 0.0


async def _end(bootstrap: str) -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    partitions = [TopicPartition(JOBS_EVENTS.name, number) for number in range(JOBS_EVENTS.partitions)]
    ends = await consumer.end_offsets(partitions)
    await consumer.stop()
    return sum(ends.values())


async def _check(admin: asyncpg.Connection) -> None:
    """A fast fold that folds wrongly is no figure."""
    wrong = await admin.fetchval(
        """
        SELECT count(*) FROM status.jobs WHERE state <> 'FINISHED' OR attached + failed <> items
            OR attached <> (SELECT count(*) FROM status.job_items i WHERE i.job = jobs.job AND rank = 70)
        """
    )
    if wrong:
        raise RuntimeError(f"{wrong} jobs are not as they should be")


async def measure(jobs: int, repeats: int) -> None:
    """Fill a topic, then let loop and service take turns."""
    with running_kafka() as kafka, running_postgres() as server, fresh_database(server) as database:
        total = await produce(kafka.bootstrap, jobs)
        limit, subject = await side_by_side(
            repeats,
            ("bare aiokafka loop, getmany + msgspec", lambda: measure_bare(kafka.bootstrap, total)),
            ("status service into Postgres", lambda: measure_fold(kafka.bootstrap, database, total)),
            "events/s",
        )
    _report(total, limit, subject)


def _report(total: int, limit: Figure, subject: Figure) -> None:
    notes = (
        f"{total:,} events of jobs of 100 items, as a pipeline at 20,000 events/s interleaves them",
        "asked for: 40% of the limit and 20,000 events/s",
        f"most memory the service held: {max(peaks):.0f} MB",
    )
    report(f"Status fold ({os.cpu_count()} cores)", (limit, subject), notes)


app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def main(context: typer.Context, jobs: int = 700, repeats: int = 5) -> None:
    """Measure and print."""
    if context.invoked_subcommand is None:
        uvloop.run(measure(jobs, repeats))


@app.command(hidden=True)
def bare(bootstrap: str, total: int) -> None:
    """Run the bare loop once and print its rate."""
    console.file = sys.stderr
    print(uvloop.run(bare_loop(bootstrap, total)))


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    app()
