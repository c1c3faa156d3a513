"""How many records each topic holds, and how many of them each consumer group has still to handle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from sluice_contracts.topics import TOPICS, Topic
from sluice_streaming.faults import closed
from sluice_streaming.outcomes import Unavailable
from sluice_streaming.topics_admin import connected, plan


@dataclass(slots=True)
class TopicLag:
    """One topic: `records` on the log now, and for each group that reads it, how many it has not handled."""

    name: str
    partitions: int
    records: int
    groups: dict[str, int] = field(default_factory=dict)


async def survey(bootstrap: str, topics: Iterable[Topic] = TOPICS) -> list[TopicLag]:
    """Look at every topic that exists, in the order of their declaration.

    Raises
    ------
    Unavailable
        Kafka did not answer.
    """
    async with connected(bootstrap, wait=10.0) as admin:
        described = {topic["topic"]: topic for topic in await admin.describe_topics()}
        names = [planned.name for planned in plan(topics) if planned.name in described]
        partitions = [
            TopicPartition(name, part["partition"])
            for name in names
            for part in described[name]["partitions"]
        ]
        begins, ends = await bounds(bootstrap, partitions)
        found = {name: TopicLag(name, len(described[name]["partitions"]), 0) for name in names}
        for partition in partitions:
            found[partition.topic].records += ends[partition] - begins[partition]
        for group in await _groups(admin):
            _count(found, group, await committed(admin, group, partitions), begins, ends)
        return list(found.values())


def _count(
    found: dict[str, TopicLag],
    group: str,
    offsets: dict[TopicPartition, int],
    begins: dict[TopicPartition, int],
    ends: dict[TopicPartition, int],
) -> None:
    for name in {partition.topic for partition, offset in offsets.items() if offset >= 0}:
        if name not in found:
            continue
        # A partition without a committed offset is read from its beginning.
        found[name].groups[group] = sum(
            end - max(begins[p], offsets.get(p, -1)) for p, end in ends.items() if p.topic == name
        )


async def committed(admin: Any, group: str, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
    """Give the offset that a group has committed of each partition, -1 where it has none.

    Raises
    ------
    Unavailable
        The group's broker cannot tell now.
    """
    found = await admin.list_consumer_group_offsets(group, partitions=partitions)
    if len(found) < len(partitions):
        # aiokafka says nothing of an error that is about the whole group, as while its broker still loads it.
        raise Unavailable("kafka")
    return {partition: offset.offset for partition, offset in found.items()}


async def _groups(admin: Any) -> list[str]:
    return sorted(str(group[0]) for group in await admin.list_consumer_groups())


async def bounds(
    bootstrap: str, partitions: list[TopicPartition]
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """Give the offset of each partition's first record that is kept, and that of the next to come."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        if not partitions:
            return {}, {}
        consumer.assign(partitions)
        return await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    finally:
        await closed(consumer.stop(), 5.0)
