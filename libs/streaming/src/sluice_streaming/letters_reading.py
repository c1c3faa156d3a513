"""Looking at dead letters without taking them: how many wait to be redriven, and what the newest are.

Only headers are read: where a record was, why it was given up, the SHA-256 of its value. The value itself may
name a patient, and is nobody's business here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from sluice_contracts.topics import TOPICS, Topic
from sluice_streaming.faults import FAULTS, closed
from sluice_streaming.letters import DIED, DIGEST
from sluice_streaming.messages import Record, header
from sluice_streaming.outcomes import Unavailable
from sluice_streaming.redrive import redrive_group
from sluice_streaming.retries import CODE, STATUS, History
from sluice_streaming.topics_admin import connected

_ANSWER_MS = 5_000
# As they are written here: headers may also be by hand.
_STATUS = re.compile(r"[0-9]{3}")
_SECONDS = re.compile(r"[0-9]{1,11}(\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter; `died` is in Unix seconds, `status` the HTTP status its source answered with."""

    code: str
    status: int | None
    origin_topic: str
    origin_partition: int
    origin_offset: int
    attempts: int
    died: float
    sha256: str


@dataclass(slots=True)
class DeadTopic:
    """One topic's dead letters that were not redriven: how many, and the newest, the last one first."""

    topic: str
    waiting: int
    letters: list[Letter] = field(default_factory=list)


async def dead_topics(
    bootstrap: str, topics: Iterable[Topic] = TOPICS, *, newest: int = 20
) -> list[DeadTopic]:
    """Look at the dead letters of every topic that has such, in the order of their declaration.

    Raises
    ------
    Unavailable
        Kafka did not answer.
    """
    try:
        partitions, redriven = await _redriven(bootstrap, [topic for topic in topics if topic.retries])
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        try:
            await consumer.start()
            return await _newest(consumer, partitions, redriven, newest)
        finally:
            await closed(consumer.stop(), 5.0)
    except FAULTS as error:
        raise Unavailable("kafka") from error


async def _redriven(
    bootstrap: str, topics: Iterable[Topic]
) -> tuple[dict[Topic, list[TopicPartition]], dict[TopicPartition, int]]:
    """Give each topic's dead-letter partitions, and from where on a partition's letters were not redriven."""
    async with connected(bootstrap, wait=5.0) as admin:
        described = {each["topic"]: each for each in await admin.describe_topics()}
        partitions = {
            topic: [TopicPartition(topic.dead, each["partition"]) for each in found["partitions"]]
            for topic in topics
            if (found := described.get(topic.dead)) is not None
        }
        groups = {str(group[0]) for group in await admin.list_consumer_groups()}
        redriven: dict[TopicPartition, int] = {}
        for group in groups.intersection(map(redrive_group, partitions)):
            offsets = await admin.list_consumer_group_offsets(group)
            redriven |= {partition: each.offset for partition, each in offsets.items()}
        return partitions, redriven


async def _newest(
    consumer: Any,
    partitions: dict[Topic, list[TopicPartition]],
    redriven: dict[TopicPartition, int],
    newest: int,
) -> list[DeadTopic]:
    every = [partition for each in partitions.values() for partition in each]
    if not every:
        return []
    consumer.assign(every)
    begins, ends = await consumer.beginning_offsets(every), await consumer.end_offsets(every)
    starts = {each: max(begins[each], redriven.get(each, -1)) for each in every}
    found = []
    for topic, own in partitions.items():
        letters = []
        for partition in own:
            start = max(starts[partition], ends[partition] - newest)
            letters += await _read(consumer, partition, start, ends[partition])
        letters.sort(key=lambda letter: letter.died, reverse=True)
        waiting = sum(ends[partition] - starts[partition] for partition in own)
        found.append(DeadTopic(topic.name, waiting, letters[:newest]))
    return found


async def _read(consumer: Any, partition: TopicPartition, start: int, end: int) -> list[Letter]:
    """Give the letters from `start` up to `end`, as far as they are there soon."""
    letters: list[Letter] = []
    if start >= end:
        return letters
    consumer.seek(partition, start)
    while start < end:
        records = (await consumer.getmany(partition, timeout_ms=_ANSWER_MS, max_records=end - start)).get(
            partition
        )
        if not records:
            break
        letters += [letter_of(record) for record in records if record.offset < end]
        start = records[-1].offset + 1
    return letters


def letter_of(record: Record) -> Letter:
    """Read a dead letter's headers; what one that was written by hand lacks is made of the record itself."""
    history = History.of(record)
    status, died = _text(record, STATUS), _text(record, DIED)
    return Letter(
        code=_text(record, CODE) or "unknown",
        status=int(status) if _STATUS.fullmatch(status) else None,
        origin_topic=history.origin_topic,
        origin_partition=history.origin_partition,
        origin_offset=history.origin_offset,
        attempts=history.attempt,
        died=float(died) if _SECONDS.fullmatch(died) else record.timestamp / 1000,
        sha256=_text(record, DIGEST),
    )


def _text(record: Record, name: str) -> str:
    value = header(record.headers, name)
    return "" if value is None else value.decode("utf-8", "replace")[:200]
