"""Kafka, at a backup and at a restore: what was accepted and not planned yet, and topics that begin anew."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
)
from msgspec import Struct

from sluice_backup.manifest import ACCEPTED, BackupError, Stretch, lines_of
from sluice_contracts.topics import JOBS_BULK_EXPORT, JOBS_BULK_IMPORT, JOBS_DOCUMENT_IMPORT
from sluice_streaming.kafka import KafkaBackend
from sluice_streaming.messages import Message, Outgoing, Record, outgoing
from sluice_streaming.outcomes import Unavailable
from sluice_streaming.tail import KafkaTail
from sluice_streaming.topics_admin import connected, create, plan, remove
from sluice_streaming.topics_lag import bounds

STARTS = {
    JOBS_DOCUMENT_IMPORT.name: "fetcher",
    JOBS_BULK_EXPORT.name: "exporter",
    JOBS_BULK_IMPORT.name: "puller",
}
"""The topics on which jobs are accepted, and the group that plans them."""
_AT_ONCE = 500
_GONE_SECONDS = 60.0
_LOOKS = 150
_NOT_YET = (
    GroupLoadInProgressError.errno,
    GroupCoordinatorNotAvailableError.errno,
    NotCoordinatorForGroupError.errno,
)


class Accepted(Struct, frozen=True, kw_only=True):
    """A command as it was on its topic: a line of `accepted.ndjson`; `value` is in base64."""

    topic: str
    key: str
    value: str


async def planned(bootstrap: str) -> dict[TopicPartition, int]:
    """Give, for each partition of the topics of starts, up to where all is planned."""
    async with connected(bootstrap, wait=30.0) as admin:
        places = await _partitions(admin, STARTS)
        offsets: dict[TopicPartition, Any] = {}
        for name, group in STARTS.items():
            told = await _offsets(admin, group)
            offsets |= {place: kept for place, kept in told.items() if place.topic == name}
    return {place: max(0, offsets[place].offset) if place in offsets else 0 for place in places}


async def copy_unplanned(
    bootstrap: str, firsts: dict[TopicPartition, int], folder: Path
) -> tuple[Stretch, ...]:
    """Copy the commands that have come since, of which the database may know nothing.

    Raises
    ------
    Unavailable
        Kafka did not give all of them.
    """
    begins, ends = await bounds(bootstrap, list(firsts))
    stretches = []
    with (folder / ACCEPTED).open("wb") as lines:
        for place, first in sorted(firsts.items()):
            at, end = max(first, begins[place]), ends[place]
            stretches.append(Stretch(topic=place.topic, partition=place.partition, first=at, end=end))
            tail = KafkaTail(bootstrap, place.topic)
            async for records in tail.stretch(place.partition, at, end):
                lines.writelines([msgspec.json.encode(_accepted(record)) + b"\n" for record in records])
                at = records[-1].offset + 1
            if at < end:
                raise Unavailable("kafka")
    return tuple(stretches)


def _accepted(record: Record) -> Accepted:
    key, value = (record.key or b"").decode("ascii", "replace"), record.value or b""
    return Accepted(topic=record.topic, key=key, value=base64.b64encode(value).decode())


def accepted_in(folder: Path) -> Iterator[Accepted]:
    """Give the commands that were copied, in their order."""
    return lines_of(folder / ACCEPTED, Accepted)


async def used(bootstrap: str) -> bool:
    """Say whether there was ever a record in one of our topics."""
    async with connected(bootstrap, wait=30.0) as admin:
        places = await _partitions(admin, {each.name for each in plan()})
    _, ends = await bounds(bootstrap, places)
    return any(ends.values())


async def make_topics(bootstrap: str, replication: int, *, fresh: bool) -> None:
    """Make the topics, after removing those that are there if `fresh` is asked for.

    Raises
    ------
    BackupError
        A group still remembers how far it had come in a topic that was removed.
    """
    if fresh:
        await remove(bootstrap)
    await create(bootstrap, replication=replication)
    deadline = asyncio.get_running_loop().time() + _GONE_SECONDS
    while await _remembered(bootstrap):
        if asyncio.get_running_loop().time() > deadline:
            raise BackupError(
                "Kafka's consumer groups still have places in topics that are made anew: delete the groups"
            )
        await asyncio.sleep(1.0)


async def _remembered(bootstrap: str) -> bool:
    names = {each.name for each in plan()}
    async with connected(bootstrap, wait=30.0) as admin:
        for group in {str(each[0]) for each in await admin.list_consumer_groups()}:
            places = await _offsets(admin, group)
            if any(place.topic in names and kept.offset > 0 for place, kept in places.items()):
                return True
    return False


async def publish(bootstrap: str, accepted: Iterable[Accepted], messages: Iterable[Message]) -> int:
    """Publish commands that were copied, then messages; give how many there were."""
    producer = KafkaBackend(bootstrap).producer()
    await producer.start()
    count = 0
    try:
        records = chain(map(_outgoing, accepted), map(outgoing, messages))
        while some := list(islice(records, _AT_ONCE)):
            await producer.send(some)
            count += len(some)
    finally:
        await producer.stop()
    return count


def _outgoing(each: Accepted) -> Outgoing:
    return Outgoing(each.topic, each.key.encode(), base64.b64decode(each.value))


async def _offsets(admin: Any, group: str) -> Mapping[TopicPartition, Any]:
    """Give a group's places, once the broker that keeps them has them at hand.

    Raises
    ------
    Unavailable
        It did not in a while.
    """
    for _ in range(_LOOKS):
        # Where a broker still loads a group it gives no places, and no error.
        with suppress(KafkaError):
            (answer,) = await admin.describe_consumer_groups([group])
            if all(described[0] not in _NOT_YET for described in answer.groups):
                found: Mapping[TopicPartition, Any] = await admin.list_consumer_group_offsets(group)
                return found
        await asyncio.sleep(0.2)
    raise Unavailable("kafka")


async def _partitions(admin: Any, names: Iterable[str]) -> list[TopicPartition]:
    wanted = set(names)
    return [
        TopicPartition(topic["topic"], part["partition"])
        for topic in await admin.describe_topics()
        if topic["topic"] in wanted
        for part in topic["partitions"]
    ]
