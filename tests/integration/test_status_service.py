"""The status service on real Kafka and Postgres: events in, rows and announcements out, crash or not."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer

from sluice_contracts import wire
from sluice_contracts.events import JobFinished
from sluice_contracts.states import JobState
from sluice_contracts.topics import JOBS_EVENTS, JOBS_STATE, Topic
from sluice_stack.kafka import Kafka
from sluice_stack.postgres import Postgres
from sluice_streaming.kafka import KafkaBackend
from sluice_streaming.messages import Outgoing
from sluice_streaming.topics_admin import create
from support.histories import attached, failed, job_number, planned, whole_job
from support.stack import Database, fresh_database
from support.status_process import publish, service, until

FOLDED = "SELECT coalesce(sum(next_offset), 0)::bigint >= $1 FROM status.offsets"
JOBS = 30
ITEMS = 40


async def read_all(kafka: Kafka, topic: Topic) -> list[Any]:
    """Give the decoded messages of a topic, from its beginning to its end as it is now."""
    decoder: wire.Decoder[Any] = wire.Decoder(topic.messages)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    consumer.subscribe([topic.name])
    await until(lambda: asyncio.sleep(0, bool(consumer.assignment())))
    ends = await consumer.end_offsets(list(consumer.assignment()))
    found: list[Any] = []
    while any([await consumer.position(partition) < end for partition, end in ends.items()]):
        batches = await consumer.getmany(timeout_ms=500)
        found += [decoder.decode_each([it.value])[0] for records in batches.values() for it in records]
    await consumer.stop()
    return found


async def test_a_service_killed_again_and_again_ends_every_job_once_and_loses_no_item(
    module_kafka: Kafka, database: Database
) -> None:
    await create(module_kafka.bootstrap)
    events = [event for number in range(JOBS) for event in whole_job(job_number(number), ITEMS)]
    admin = await asyncpg.connect(database.dsn)

    async def all_announced() -> bool:
        return bool(
            await admin.fetchval("SELECT count(*) = $1 FROM status.jobs WHERE announced_at IS NOT NULL", JOBS)
        )

    publishing = asyncio.create_task(publish(module_kafka, events))
    for share in (0.1, 0.4, 0.7):
        enough = int(share * len(events))
        async with service(module_kafka, database, "one") as process:
            await until(lambda enough=enough: admin.fetchval(FOLDED, enough))
            process.kill()
    await publishing
    async with service(module_kafka, database, "one") as process:
        await until(all_announced)
        await until(lambda: admin.fetchval("SELECT count(*) = 0 FROM status.outbox"))
    assert process.returncode == 0
    states = await admin.fetch("SELECT state, outcome, attached, items FROM status.jobs")
    assert {tuple(row) for row in states} == {("FINISHED", "completed", ITEMS, ITEMS)}
    assert await admin.fetchval("SELECT count(*) FROM status.job_items WHERE rank = 70") == JOBS * ITEMS
    await admin.close()

    finished = [it for it in await read_all(module_kafka, JOBS_EVENTS) if isinstance(it, JobFinished)]
    assert {it.job for it in finished} == {job_number(number) for number in range(JOBS)}
    # A crash may announce an end again, but never another end.
    assert len({wire.encode(it) for it in finished}) == JOBS
    last: dict[str, JobState] = {it.job: it for it in await read_all(module_kafka, JOBS_STATE)}
    assert {it.state for it in last.values()} == {"FINISHED"}
    assert len(last) == JOBS


async def test_a_database_that_crashes_loses_rows_and_offsets_together(
    module_kafka: Kafka, module_postgres: Postgres
) -> None:
    await create(module_kafka.bootstrap)
    numbers = range(500, 500 + JOBS)
    mine = [job_number(number) for number in numbers]
    events = [event for number in numbers for event in whole_job(job_number(number), ITEMS)]
    await publish(module_kafka, events)
    with fresh_database(module_postgres) as database:
        async with service(module_kafka, database) as process:
            for share in (0.2, 0.6):
                admin = await asyncpg.connect(database.dsn)
                enough = int(share * len(events))
                await until(lambda admin=admin, enough=enough: admin.fetchval(FOLDED, enough))
                module_postgres.kill()
                await asyncio.to_thread(module_postgres.start)
            admin = await asyncpg.connect(database.dsn)
            told = "announced_at IS NOT NULL AND job = ANY($1::uuid[])"
            announced = f"SELECT count(*) FROM status.jobs WHERE {told}"  # noqa: S608 - a constant

            async def all_announced() -> bool:
                return bool(await admin.fetchval(announced, mine) == JOBS)

            await until(all_announced)
            assert process.returncode is None
        counts = "SELECT sum(attached), count(*) FROM status.jobs WHERE job = ANY($1::uuid[])"
        assert [tuple(row) for row in await admin.fetch(counts, mine)] == [(JOBS * ITEMS, JOBS)]
        rows = "SELECT count(*) FROM status.job_items WHERE rank = 70 AND job = ANY($1::uuid[])"
        assert await admin.fetchval(rows, mine) == JOBS * ITEMS
        await admin.close()


async def test_two_processes_share_the_partitions_and_lose_nothing_when_one_leaves(
    module_kafka: Kafka, database: Database
) -> None:
    await create(module_kafka.bootstrap)
    numbers = range(1000, 1000 + JOBS)
    events = [event for number in numbers for event in whole_job(job_number(number), ITEMS)]
    admin = await asyncpg.connect(database.dsn)
    mine = [job_number(number) for number in numbers]
    count = "SELECT count(*) FROM status.jobs WHERE state = 'FINISHED' AND job = ANY($1::uuid[])"
    async with service(module_kafka, database):
        async with service(module_kafka, database):
            await publish(module_kafka, events[: len(events) // 2])
            await asyncio.sleep(2)
        await publish(module_kafka, events[len(events) // 2 :])

        async def all_finished() -> bool:
            return bool(await admin.fetchval(count, mine) == JOBS)

        await until(all_finished)
    total = "SELECT sum(attached) FROM status.jobs WHERE job = ANY($1::uuid[])"
    assert await admin.fetchval(total, mine) == JOBS * ITEMS
    await admin.close()


async def test_records_that_are_no_events_stop_nothing(module_kafka: Kafka, database: Database) -> None:
    await create(module_kafka.bootstrap)
    job = job_number(2000)
    bad = (b"", b"{", b'{"type":"FromTheFuture"}', b"\xff" * 1000, b'{"type":"ItemFailed","job":"x","at":1}')
    producer = KafkaBackend(module_kafka.bootstrap).producer()
    await producer.start()
    await producer.send([Outgoing(JOBS_EVENTS.name, job.encode(), value) for value in bad])
    await producer.stop()
    await publish(module_kafka, [planned(job, 2), attached(job, 0), failed(job, 1)])
    admin = await asyncpg.connect(database.dsn)
    finished = "SELECT count(*) = 1 FROM status.jobs WHERE state = 'FINISHED' AND job = $1"
    async with service(module_kafka, database):
        await until(lambda: admin.fetchval(finished, job))
    dead = await admin.fetch("SELECT reason FROM status.dead")
    assert len(dead) == 4
    await admin.close()
