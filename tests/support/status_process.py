"""The status service as a process of its own, and what tests do around it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sluice_contracts.events import Event
from sluice_contracts.topics import JOBS_EVENTS
from sluice_stack.kafka import Kafka
from sluice_streaming.kafka import KafkaBackend, KafkaTuning
from sluice_streaming.messages import Message
from support.stack import Database


@contextlib.asynccontextmanager
async def service(
    kafka: Kafka, database: Database, instance: str | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {
        **os.environ,
        "SLUICE_KAFKA": kafka.bootstrap,
        "SLUICE_POSTGRES": database.dsn_for("status"),
        "SLUICE_BATCH": "50",
        # One with a name takes its share up again at once; without one it waits for its session to end.
        **({"SLUICE_INSTANCE": instance} if instance else {}),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "sluice_status", env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def publish(kafka: Kafka, events: Sequence[Event]) -> None:
    # A broker that was just started may take its time to lead all partitions.
    producer = KafkaBackend(kafka.bootstrap, tuning=KafkaTuning(patience=60.0)).producer()
    await producer.start()
    await producer.publish([Message(JOBS_EVENTS, event.job, event) for event in events])
    await producer.stop()


async def until(question: Any, seconds: float = 120.0) -> None:
    async with asyncio.timeout(seconds):
        while not await question():  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(0.01)
