"""Accept: POST of 100 items to 202, beside a bare acks=all produce of the same record.

The gateway is a process of its own on real Kafka and Postgres, as in production. The two take turns, call by
call, so that both meet the same noise; the client waits for each answer before it makes the next call. Run
from the project's root:

    PYTHONPATH=tests .venv/bin/python -m bench.bench_accept [--calls 400] [--rounds 5]
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import typer
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.measure import Figure, percentile, report
from sluice_contracts.topics import JOBS_DOCUMENT_IMPORT
from sluice_fhir.source_store import SourceStore
from sluice_fhir.sources import SourceDraft
from sluice_security.sealing import read_secret
from sluice_storage.pool import open_pool
from sluice_streaming.topics_admin import create
from support.catalogue import open_bench
from support.gateway_memory import ADVANCE, SECRET
from support.gateway_process import Running, gateway_process
from support.scratch import scratch_folder
from support.stack import Database, fresh_database, running_kafka, running_postgres

BASE = "https://fhir.example.org/r4"
ITEMS = 100
WARM = 50
WITHIN = 10.0
"""How many times a bare produce's p99 the accept's may take."""


def request_body(project: str) -> bytes:
    """Give a request of a hundred items with names, metadata and tags, as portals send them."""
    items = [
        {
            "fhir_document_reference": f"{BASE}/DocumentReference/{44_765_000 + number}",
            "project": project,
            "name": f"discharge-summary-{number}.pdf",
            "metadata": {"study_id": "phs001168", "cohort": 4, "consent": ["GRU", "HMB"]},
        }
        for number in range(ITEMS)
    ]
    return json.dumps({"items": items, "conflict_resolution": "SKIP", "tags": ["INCLUDE"]}).encode()


@dataclass
class Client:
    """Both contenders, and how long each of their calls took (seconds)."""

    session: aiohttp.ClientSession
    running: Running
    producer: Any
    body: bytes
    value: bytes = b""
    names: Any = field(default_factory=itertools.count)

    async def accept(self, key: str | None = None) -> float:
        """Submit an import and wait for the 202."""
        # A client may make a thousand calls in five minutes; every call here is another client's.
        client = f"portal-{next(self.names)}"
        headers = {
            **self.running.authority.bearer(client=client, subject="ann"),
            **ADVANCE,
            "Content-Type": "application/json",
        }
        if key is not None:
            headers["Idempotency-Key"] = key
        began = time.perf_counter()
        async with self.session.post("/v2/bulk/fhir", data=self.body, headers=headers) as answer:
            await answer.read()
            took = time.perf_counter() - began
            assert answer.status == 202, await answer.text()
        return took

    async def accept_safely(self) -> float:
        """The same under an idempotency key, which is made durable first."""
        return await self.accept(f"key-{next(self.names)}")

    async def produce(self) -> float:
        """Produce the record that the gateway produces, and wait for acks=all."""
        key = f"018f0000-0000-8000-8000-{next(self.names):012d}".encode()
        began = time.perf_counter()
        await self.producer.send_and_wait(JOBS_DOCUMENT_IMPORT.name, self.value, key=key)
        return time.perf_counter() - began


@contextlib.asynccontextmanager
async def contenders(database: Database, bootstrap: str, running: Running) -> AsyncIterator[Client]:
    """Prepare a project, a source and the record that an accepted request becomes."""
    pool = await open_pool(database.dsn_for("gateway"), size=1)
    await SourceStore(pool, read_secret(SECRET)).create(SourceDraft(name="One", base_url=BASE))
    await pool.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_request_size=4_194_304)
    await producer.start()
    try:
        async with open_bench(database) as files, aiohttp.ClientSession(running.url) as session:
            project = await files.project("ann")
            client = Client(session, running, producer, request_body(project.id))
            await client.accept()
            client.value = await first_record(bootstrap)
            yield client
    finally:
        await producer.stop()


async def first_record(bootstrap: str) -> bytes:
    """Read the record that the gateway made of the request."""
    consumer = AIOKafkaConsumer(
        JOBS_DOCUMENT_IMPORT.name, bootstrap_servers=bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        return bytes((await consumer.getone()).value)
    finally:
        await consumer.stop()


async def measure(client: Client, calls: int, rounds: int) -> dict[str, list[list[float]]]:
    """Take turns, call by call; give the milliseconds of every call, by contender and round."""
    turns: dict[str, Callable[[], Awaitable[float]]] = {
        "bare produce, acks=all": client.produce,
        "POST of 100 items to 202": client.accept,
        "the same with an Idempotency-Key": client.accept_safely,
    }
    for _ in range(WARM):
        for turn in turns.values():
            await turn()
    taken: dict[str, list[list[float]]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name in turns:
            taken[name].append([])
        for _ in range(calls):
            for name, turn in turns.items():
                taken[name][-1].append(1000 * await turn())
    return taken


async def run(calls: int, rounds: int) -> bool:
    """Measure and print; give whether the limit is kept."""
    with running_kafka() as kafka, running_postgres() as postgres, scratch_folder() as folder:
        await create(kafka.bootstrap)
        with fresh_database(postgres) as database:
            async with (
                gateway_process(database, kafka.bootstrap, folder) as running,
                contenders(database, kafka.bootstrap, running) as client,
            ):
                taken = await measure(client, calls, rounds)
    for share, title in ((0.5, "median"), (0.99, "p99")):
        figures = [
            Figure(name, "ms", tuple(percentile(calls_, share) for calls_ in parts))
            for name, parts in taken.items()
        ]
        report(f"Accept, {title} of {calls} calls a round, {rounds} rounds (lower is better)", figures)
    bare, accept, *_ = [percentile([t for part in parts for t in part], 0.99) for parts in taken.values()]
    print(f"p99 over all calls: {accept:.2f} ms, {accept / bare:.1f} times a bare produce's {bare:.2f} ms")
    return accept <= WITHIN * bare


def main(calls: int = 400, rounds: int = 5) -> None:
    """Measure how long accepting a job takes."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        kept = runner.run(run(calls, rounds))
    raise typer.Exit(0 if kept else 1)


if __name__ == "__main__":
    typer.run(main)
