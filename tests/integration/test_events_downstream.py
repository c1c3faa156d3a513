"""What others make of jobs.events: the example consumer's table is the status service's."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event

from sluice_contracts.cloudevents import type_of
from sluice_contracts.events import (
    Attached,
    DocumentsAttached,
    Event,
    FileOutcome,
    ItemRetrying,
    JobCancelled,
    JobFinished,
    Stage,
)
from sluice_contracts.topics import JOBS_EVENTS
from sluice_stack.kafka import Kafka
from sluice_streaming.kafka import KafkaBackend
from sluice_streaming.messages import Message
from sluice_streaming.topics_admin import create
from support.histories import BEGAN, attached, failed, job_number, planned, sealed, whole_job
from support.stack import Database
from support.status_process import publish, service, until

EXAMPLE = Path(__file__).parents[2] / "schemas" / "examples" / "job_table.py"
GUIDE = Path(__file__).parents[2] / "docs" / "events.md"
COLUMNS = "kind, items, outcome, cancelled, failed, skipped, attached"


def histories() -> list[Event]:
    """Give jobs of every outcome, a running one, and some of it twice and out of order."""
    done, dead, stopped, running, export = (job_number(number) for number in range(5))
    retrying = ItemRetrying(
        job=running, at=BEGAN, item=1, stage=Stage.FETCH, code="internal", attempt=1, due=BEGAN
    )
    told: list[Event] = [
        *whole_job(done, 5),
        failed(dead, 0),
        attached(stopped, 1, outcome=FileOutcome.SKIPPED),
        planned(dead, 2),
        failed(dead, 1),
        planned(stopped, 4),
        JobCancelled(job=stopped, at=BEGAN + 3),
        attached(stopped, 0),
        planned(running, 3),
        attached(running, 0),
        DocumentsAttached(
            job=running,
            at=BEGAN,
            items=(
                Attached(item=0, file="f", outcome=FileOutcome.SKIPPED, size=1),
                Attached(item=2, file="g", outcome=FileOutcome.SKIPPED, size=1),
            ),
        ),
        retrying,
        planned(export, 2),
        sealed(export, 0),
        failed(export, 1),
        sealed(export, 1),
    ]
    return [*told, *reversed(told)]


async def test_the_example_consumer_rebuilds_the_table_of_jobs(
    module_kafka: Kafka, database: Database
) -> None:
    await create(module_kafka.bootstrap)
    told = histories()
    await publish(module_kafka, told)
    admin = await asyncpg.connect(database.dsn)
    async with service(module_kafka, database):
        await until(
            lambda: admin.fetchval("SELECT count(*) = 4 FROM status.jobs WHERE announced_at IS NOT NULL")
        )
        await until(lambda: admin.fetchval("SELECT count(*) = 0 FROM status.outbox"))
    rows = await admin.fetch(f"SELECT job::text, {COLUMNS} FROM status.jobs")  # noqa: S608
    await admin.close()
    table = await kept_by_the_example(module_kafka)
    assert table == {
        row["job"]: {name: value for name, value in row.items() if name != "job" and value is not None}
        for row in rows
    }
    assert {row.get("outcome") for row in table.values()} == {"completed", "failed", "cancelled", None}


async def kept_by_the_example(kafka: Kafka) -> dict[str, dict[str, Any]]:
    """Have the example read all there is, and give what it says of each job last."""
    async with AIOKafkaConsumer(JOBS_EVENTS.name, bootstrap_servers=kafka.bootstrap) as consumer:
        ends = await consumer.end_offsets(list(consumer.assignment()))
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLE), kafka.bootstrap, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    table: dict[str, dict[str, Any]] = {}
    try:
        # It says a line for each event.
        for _ in range(sum(ends.values())):
            table |= json.loads(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()
    return table


def test_the_example_consumer_has_20_lines_and_is_shown_as_it_is() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if line.strip()]) <= 20
    assert f"```python\n{text}```\n" in GUIDE.read_text(encoding="utf-8")


async def test_every_record_on_the_log_is_a_cloudevent_also_the_status_services_own(
    module_kafka: Kafka,
) -> None:
    await create(module_kafka.bootstrap)
    producer = KafkaBackend(module_kafka.bootstrap).producer()
    await producer.start()
    await producer.publish([Message(JOBS_EVENTS, job_number(9), planned(job_number(9), 1))])
    await producer.stop()
    consumer = AIOKafkaConsumer(
        JOBS_EVENTS.name, bootstrap_servers=module_kafka.bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()
    ends = await consumer.end_offsets(list(consumer.assignment()))
    read: list[BaseCloudEvent] = []
    while len(read) < sum(ends.values()):
        for records in (await consumer.getmany(timeout_ms=500)).values():
            read += [from_binary_event(KafkaMessage(dict(r.headers), r.key, r.value)) for r in records]
    await consumer.stop()
    ids = {event.get_id(): json.dumps(event.get_data(), sort_keys=True) for event in read}
    for event in read:
        data = event.get_data()
        assert isinstance(data, dict)
        assert event.get_type() == type_of(data["type"])
        assert event.get_extension("partitionkey") == data["job"]
        # One id is one event, however often it is there.
        assert ids[event.get_id()] == json.dumps(data, sort_keys=True)
    assert any(JobFinished.__name__ in event.get_id() for event in read)
