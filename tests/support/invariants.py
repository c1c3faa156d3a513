"""What must hold after a run, whatever was killed in its course."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import psycopg
from aiokafka import AIOKafkaConsumer
from msgspec import Struct
from psycopg.rows import dict_row

from sluice_contracts.topics import JOBS_EVENTS, TOPICS
from sluice_stack.stack import Stack
from sluice_storage.encryption.framing import sealed_size
from sluice_storage.objects import name_of

Rows = list[dict[str, Any]]
_END = "JobFinished"
_LOOKS = 120


def rows(stack: Stack, query: str, *values: Any) -> Rows:
    """Ask the stack's database, as its administrator."""
    with psycopg.connect(stack.dsn(), row_factory=dict_row) as connection:
        return connection.execute(query, values).fetchall()


def check_jobs_ended_once(stack: Stack, jobs: Sequence[str], items: int) -> None:
    """Every job has ended, once, with a state for each of its items, and was announced."""
    # What has ended is announced after that, and a broker that was killed takes its time to take it.
    for _ in range(_LOOKS):
        found = rows(stack, "SELECT * FROM status.jobs WHERE job = ANY(%s::uuid[])", list(jobs))
        if all(row["announced_at"] is not None for row in found):
            break
        time.sleep(0.5)
    assert {str(row["job"]) for row in found} == set(jobs)
    for row in found:
        assert row["state"] == "FINISHED", row["job"]
        assert row["announced_at"] is not None, row["job"]
        ends = row["attached"] + row["skipped"] + row["failed"] + row["cancelled"]
        assert ends == row["items"], row["job"]
    assert sum(row["items"] for row in found) == items


def check_each_item_took_effect_once(stack: Stack, jobs: Sequence[str]) -> None:
    """No file is lost and none is there twice: items, imports and files match one to one."""
    ids = list(jobs)
    attached = rows(
        stack, "SELECT job, item, file FROM status.job_items WHERE job = ANY(%s::uuid[]) AND rank = 70", ids
    )
    imports = rows(
        stack,
        "SELECT job, item, entry FROM files.imports WHERE job = ANY(%s::uuid[]) AND outcome <> 'skipped'",
        ids,
    )
    entries = rows(
        stack,
        "SELECT id, origin_job AS job, origin_item AS item FROM files.entries "
        "WHERE origin_job = ANY(%s::uuid[])",
        ids,
    )
    told = {(row["job"], row["item"]): row["file"] for row in attached}
    recorded = {(row["job"], row["item"]): row["entry"] for row in imports}
    there = Counter((row["job"], row["item"]) for row in entries)
    assert told == recorded
    assert there == Counter(dict.fromkeys(recorded, 1))
    assert {row["id"] for row in entries} == set(recorded.values())


def check_contents_are_stored(stack: Stack, jobs: Sequence[str]) -> None:
    """Each file's content is in the object store, encrypted, with the size that its row states.

    What a kill left there without a row is nothing that opens: the attacher's janitor removes it in a day.
    """
    wanted = rows(
        stack,
        "SELECT DISTINCT b.object, b.data_key IS NOT NULL AS opens, b.size FROM files.entries e "
        "JOIN files.blobs b USING (sha256) WHERE e.origin_job = ANY(%s::uuid[])",
        list(jobs),
    )
    stored = _stored(stack)
    for row in wanted:
        assert row["opens"]
        assert stored.get(name_of(row["object"])) == sealed_size(row["size"]), row["object"]


class _Event(Struct):
    type: str
    job: str


def check_log(stack: Stack, jobs: Sequence[str]) -> None:
    """On the log each job has one end, perhaps repeated as it was, and no message was given up."""
    ends, dead = asyncio.run(_read(stack.addresses.kafka))
    assert {job: len(ends.get(job, ())) for job in jobs} == dict.fromkeys(jobs, 1)
    assert dead == []


async def _read(kafka: str) -> tuple[dict[str, set[bytes]], list[tuple[str, bytes | None]]]:
    """Give what was told of jobs' ends, by job, and the topics and keys of dead letters."""
    consumer = AIOKafkaConsumer(
        JOBS_EVENTS.name,
        *(topic.dead for topic in TOPICS if topic.retries),
        bootstrap_servers=kafka,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    ends: dict[str, set[bytes]] = {}
    dead: list[tuple[str, bytes | None]] = []
    try:
        left = await consumer.end_offsets(list(consumer.assignment()))
        while any([await consumer.position(place) < end for place, end in left.items()]):
            for place, records in (await consumer.getmany(timeout_ms=200)).items():
                if place.topic != JOBS_EVENTS.name:
                    dead += [(place.topic, record.key) for record in records]
                    continue
                for record in records:
                    event = msgspec.json.decode(record.value, type=_Event)
                    if event.type == _END:
                        ends.setdefault(event.job, set()).add(record.value)
    finally:
        await consumer.stop()
    return ends, dead


def _stored(stack: Stack) -> dict[str, int]:
    """Give the objects' sizes, by their names."""
    folder = stack.layout.home.objects
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def check_all(stack: Stack, jobs: Sequence[str], items: int) -> None:
    """Check everything."""
    check_jobs_ended_once(stack, jobs, items)
    check_each_item_took_effect_once(stack, jobs)
    check_contents_are_stored(stack, jobs)
    check_log(stack, jobs)
