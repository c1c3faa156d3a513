"""Insight: events a second that its Faust worker folds, beside a bare aiokafka loop that decodes the same.

Real Kafka; the service runs as a process of its own, and so does the loop. Each turn has a broker of its own,
and both read the same topic. Run from the project's root:

    PYTHONPATH=tests .venv/bin/python -m bench.bench_insight
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from pathlib import Path

import aiohttp
import psutil
import typer
import uvloop
from aiokafka import AIOKafkaProducer
from msgspec.structs import replace

from bench.bench_fold import measure_bare, peak_memory
from bench.event_stream import events
from bench.measure import Figure, report
from sluice_contracts import wire
from sluice_contracts.events import Event, JobPlanned
from sluice_contracts.topics import JOBS_EVENTS
from sluice_stack.processes import free_port
from sluice_streaming.topics_admin import create
from support.stack import running_kafka

# How much passes before the clock starts: the group has joined, and what is imported late is imported.
WARM = 0.1
SPELL = 20.0
peaks: list[float] = []
costs: list[float] = []
_FOLDED = re.compile(r"^sluice_insight_events_total (\S+)$", re.MULTILINE)


def recent(jobs: int) -> list[Event]:
    """Give events as if they had just happened, of jobs that import from one of three servers."""
    told = events(jobs)
    shift = time.time() - told[-1].at
    moved: list[Event] = []
    for event in told:
        late = replace(event, at=event.at + shift)
        moved.append(replace(late, sources=(f"s{len(moved) % 3}",)) if isinstance(late, JobPlanned) else late)
    return moved


async def produce(bootstrap: str, jobs: int) -> int:
    """Fill jobs.events and give how many records it holds."""
    await create(bootstrap)
    told = recent(jobs)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20) as producer:
        for event in told:
            await producer.send(JOBS_EVENTS.name, wire.encode(event), key=event.job.encode())
        await producer.flush()
    return len(told)


async def measure_insight(bootstrap: str, total: int) -> float:
    """Let the service fold the topic from its start, into empty tables; give events a second."""
    health = f"127.0.0.1:{free_port()}"
    environment = {
        **os.environ,
        "SLUICE_KAFKA": bootstrap,
        "SLUICE_LISTEN": f"127.0.0.1:{free_port()}",
        "SLUICE_HEALTH": health,
        "SLUICE_LOG_LEVEL": "ERROR",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "sluice_insight", env=environment)
    try:
        return await _rate(psutil.Process(process.pid), f"http://{health}/metrics", total)
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def _rate(process: psutil.Process, metrics: str, total: int) -> float:
    began, warm, spent, folded, now = 0.0, 0.0, 0.0, 0.0, 0.0
    async with aiohttp.ClientSession() as http:
        # A spell is enough: what it does in the first seconds, it does in all.
        while folded < total and not (began and now - began > SPELL):
            await asyncio.sleep(0.1)
            folded, now = await _folded(http, metrics), time.perf_counter()
            if not began and folded >= total * WARM:
                began, warm, spent = now, folded, sum(process.cpu_times()[:2])
    peaks.append(peak_memory(process.pid))
    costs.append((sum(process.cpu_times()[:2]) - spent) / (folded - warm) * 1e6)
    return (folded - warm) / (now - began)


async def _folded(http: aiohttp.ClientSession, metrics: str) -> float:
    try:
        async with http.get(metrics) as answer:
            found = _FOLDED.search(await answer.text())
    except aiohttp.ClientError:
        return 0.0
    return float(found.group(1)) if found else 0.0


async def measure(jobs: int, repeats: int) -> None:
    """Fill a topic, then let loop and service take turns."""
    limits: list[float] = []
    subjects: list[float] = []
    for _ in range(repeats):
        # A broker of its own for each turn, as what the service knows is there.
        with running_kafka() as kafka:
            total = await produce(kafka.bootstrap, jobs)
            limits.append(await measure_bare(kafka.bootstrap, total))
            subjects.append(await measure_insight(kafka.bootstrap, total))
    limit = Figure("bare aiokafka loop, getmany + msgspec", "events/s", tuple(limits))
    subject = Figure("insight, one Faust worker", "events/s", tuple(subjects))
    _report(total, limit, subject)


def _report(total: int, limit: Figure, subject: Figure) -> None:
    notes = (
        f"{total:,} events of jobs of 100 items, interleaved as a pipeline does",
        "asked for: 1,000 events/s, less than 200 MB",
        f"most memory it held: {max(peaks):.0f} MB; processor time an event: {min(costs):.0f} µs",
    )
    report(f"Insight ({os.cpu_count()} cores)", (limit, subject), notes)


def main(jobs: int = 300, repeats: int = 3) -> None:
    """Measure and print."""
    uvloop.run(measure(jobs, repeats))


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    typer.run(main)
