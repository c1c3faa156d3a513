"""Lots: what a producer gathers for a moment and sends as a few batches.

aiokafka can gather too, but makes a future and a look-up of every record, which took a tenth of a worker's
time, and its linger keeps a record waiting that comes alone.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sluice_streaming.kafka_partition import partition_of
from sluice_streaming.messages import Outgoing

LOT_BYTES = 256 * 1024
"""A lot of so many bytes is sent at once."""
ALONE_BYTES = 64 * 1024
"""A record of so many bytes and more is not gathered."""
_RECORD_BYTES = 64  # what a record has beside key, value and headers, at most


class Lot:
    """Records that are sent together; `done` has a result once all of them are acknowledged."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.records: list[Outgoing] = []
        self.size = 0
        self.done: asyncio.Future[None] = loop.create_future()

    def add(self, records: Sequence[Outgoing], size: int) -> None:
        """Take records of so many bytes in."""
        self.records += records
        self.size += size

    async def batches(self, inner: Any) -> list[tuple[str, int, Any]]:
        """Give aiokafka's batches of everything, with the topic and partition of each.

        Raises
        ------
        UnknownTopicOrPartitionError
            There is no such topic.
        """
        shares: defaultdict[tuple[str, int], list[Outgoing]] = defaultdict(list)
        known: dict[str, list[int]] = {}
        for record in self.records:
            partitions = known.get(record.topic)
            if partitions is None:
                partitions = known[record.topic] = list(await inner.partitions_for(record.topic))
            shares[record.topic, partition_of(record.key, partitions, partitions)].append(record)
        return [
            (topic, partition, batch)
            for (topic, partition), records in shares.items()
            for batch in _batches(inner, records)
        ]


def size_of(record: Outgoing) -> int:
    """Give the most bytes that a record may take on the wire."""
    size = _RECORD_BYTES + len(record.key or b"") + len(record.value or b"")
    return size + sum([len(name) + len(value) + 10 for name, value in record.headers])


def seen(future: asyncio.Future[Any]) -> None:
    """Take note of an error nobody waits for any more, which asyncio would complain about."""
    if not future.cancelled():
        future.exception()


def _batches(inner: Any, records: Sequence[Outgoing]) -> list[Any]:
    batch = inner.create_batch()
    batches = [batch]
    for record in records:
        while not _appended(batch, record):
            batch = inner.create_batch()
            batches.append(batch)
    for batch in batches:
        batch.close()
    return batches


def _appended(batch: Any, record: Outgoing) -> bool:
    # A record with neither key nor value is copied with an empty value, as it is when it is sent alone.
    value = b"" if record.value is None and record.key is None else record.value
    added = batch.append(timestamp=None, key=record.key, value=value, headers=list(record.headers))
    return added is not None
