"""Watching: how long an event takes from its service to 200 watchers of its job at one gateway.

Real Kafka and Postgres; the gateway is a process of its own, and so is what watches. Events of one job are
published a hundred times a second; a delay is from the call that publishes an event until a watcher has read
all of it. The limit: a bare aiokafka consumer that reads the same events. Run from the project's root:

    PYTHONPATH=tests .venv/bin/python -m bench.bench_watch [--watchers 200] [--events 1000]
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from uuid import uuid4

import aiohttp
import asyncpg
import typer
import uvloop
from aiokafka import AIOKafkaConsumer

from bench.measure import console, percentile
from sluice_contracts.events import ItemRetrying, JobFinished, JobKind, JobOutcome, Stage
from sluice_contracts.topics import JOBS_EVENTS
from sluice_streaming.kafka import KafkaBackend, KafkaTuning
from sluice_streaming.messages import Message
from sluice_streaming.topics_admin import create
from support.gateway_process import gateway_process
from support.scratch import scratch_folder
from support.stack import fresh_database, running_kafka, running_postgres

_AT = re.compile(rb'"type":"ItemRetrying".*?"at":([0-9.]+)')
_RATE = 100.0


def watching(url: str, headers: dict[str, str], watchers: int, begun: str) -> list[float]:
    """Watch from this process until the job ends; gives every delay in seconds."""
    return uvloop.run(_watching(url, headers, watchers, Path(begun)))


async def _watching(url: str, headers: dict[str, str], watchers: int, begun: Path) -> list[float]:
    delays: list[float] = []
    there = 0

    async def watch(http: aiohttp.ClientSession) -> None:
        nonlocal there
        async with http.get(url, headers=headers) as answer:
            answer.raise_for_status()
            await answer.content.readuntil(b"\n\n")
            there += 1
            if there == watchers:
                await asyncio.to_thread(begun.touch)
            delays.extend(
                [time.time() - float(at[1]) async for line in answer.content if (at := _AT.search(line))]
            )

    connector = aiohttp.TCPConnector(limit=watchers)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(600)) as http:
        await asyncio.gather(*(watch(http) for _ in range(watchers)))
    return delays


async def bare(bootstrap: str, job: str, ready: asyncio.Event) -> list[float]:
    """Read the job's events with nothing in between; gives every delay in seconds."""
    delays: list[float] = []
    consumer = AIOKafkaConsumer(JOBS_EVENTS.name, bootstrap_servers=bootstrap, fetch_max_wait_ms=200)
    await consumer.start()
    await consumer.seek_to_end()
    ready.set()
    try:
        async for record in consumer:
            if found := _AT.search(record.value):
                delays.append(time.time() - float(found[1]))
            if record.key == job.encode() and b"JobFinished" in record.value:
                return delays
    finally:
        await consumer.stop()
    return delays


async def publish(bootstrap: str, job: str, events: int) -> None:
    """Publish the job's events at their rate, then its end."""
    producer = KafkaBackend(bootstrap, tuning=KafkaTuning(pace=0.0)).producer()
    await producer.start()
    begin = time.perf_counter()
    for number in range(events):
        await asyncio.sleep(max(0.0, begin + number / _RATE - time.perf_counter()))
        now = time.time()
        event = ItemRetrying(job=job, at=now, item=number, stage=Stage.FETCH, code="x", attempt=1, due=now)
        await producer.publish([Message(JOBS_EVENTS, job, event)])
    counts = {"items": events, "attached": events, "skipped": 0, "failed": 0, "cancelled": 0}
    end = JobFinished(
        job=job, at=time.time(), kind=JobKind.DOCUMENT_IMPORT, outcome=JobOutcome.COMPLETED, **counts
    )
    await producer.publish([Message(JOBS_EVENTS, job, end)])
    await producer.stop()


async def run(watchers: int, events: int) -> None:
    """Set everything up, measure, print."""
    job = str(uuid4())
    loop = asyncio.get_running_loop()
    with running_kafka() as kafka, running_postgres() as postgres, scratch_folder() as folder:
        await create(kafka.bootstrap)
        with fresh_database(postgres) as database:
            connection = await asyncpg.connect(database.dsn)
            await connection.execute(
                "INSERT INTO status.jobs (job, kind, client, subject, state, items, submitted_at)"
                " VALUES ($1, 'document-import', 'portal', 'ann', 'RUNNING', 1, now())",
                job,
            )
            await connection.close()
            async with gateway_process(database, kafka.bootstrap, folder) as running:
                headers = running.authority.bearer(client="portal", subject="ann", lifetime=3000)
                begun, ready = folder / "begun", asyncio.Event()
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
                    url = f"{running.url}/v2/jobs/{job}/events"
                    seen = loop.run_in_executor(processes, watching, url, headers, watchers, str(begun))
                    alone = asyncio.create_task(bare(kafka.bootstrap, job, ready))
                    await ready.wait()
                    while not begun.exists():  # noqa: ASYNC110 - another process makes it
                        await asyncio.sleep(0.05)
                    await publish(kafka.bootstrap, job, events)
                    for name, delays in (("bare consumer", await alone), ("watchers", await seen)):
                        middle, late = (percentile(delays, share) * 1000 for share in (0.5, 0.99))
                        console.print(
                            f"{name}: {len(delays):,} events read, median {middle:.1f} ms, p99 {late:.1f} ms",
                            highlight=False,
                        )
    console.print(f"{watchers} watchers, {_RATE:.0f} events/s, {os.cpu_count()} cores; asked for: 100 ms")


def main(watchers: int = 200, events: int = 1000) -> None:
    """Measure and print."""
    uvloop.run(run(watchers, events))


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    typer.run(main)
