"""Redrive: dead letters go back to their topic, once each.

How far a dead-letter topic was redriven is the committed offset of a consumer group, so running it again
goes on from there. A crash between a letter's publication and its commit repeats it; that is a second
delivery like any other.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence

from sluice_contracts.topics import Topic
from sluice_streaming.backend import Backend, Consumer
from sluice_streaming.messages import Outgoing, Partition, Record
from sluice_streaming.retries import foreign

_POLL_SECONDS = 1.0
_BATCH = 200


def redrive_group(topic: Topic) -> str:
    """Name the group that remembers how far a topic's dead letters were redriven."""
    return f"sluice-redrive.{topic.name}"


async def redrive(backend: Backend, topic: Topic, limit: int | None = None) -> int:
    """Publish a topic's dead letters to it again, as new messages at attempt 1; give how many.

    Only what waited at the beginning: letters that die again meanwhile are left to the next redrive, which
    else would go on for as long as the cause is there. Letters that were written without their value (it was
    too large) are passed over.

    Parameters
    ----------
    topic
        The topic whose dead letters are meant.
    limit
        How many letters to look at, at most.
    """
    producer = backend.producer()
    waiting = _Waiting()
    consumer = backend.consumer(redrive_group(topic), [topic.dead], waiting)
    left = sys.maxsize if limit is None else limit
    count = 0
    await producer.start()
    try:
        await consumer.start()
        try:
            while most := min(left, await waiting.count(consumer), _BATCH):
                batches = await consumer.poll(_POLL_SECONDS, most)
                if not batches and not any((await consumer.lag()).values()):
                    break
                taken = waiting.take(batches)
                letters = [letter for records in taken.values() for letter in records]
                again = [
                    Outgoing(topic.name, letter.key, letter.value, foreign(letter.headers))
                    for letter in letters
                    if letter.value is not None
                ]
                await producer.send(again)
                await consumer.commit({p: records[-1].offset + 1 for p, records in taken.items()})
                left -= len(letters)
                count += len(again)
        finally:
            await consumer.stop()
    finally:
        await producer.stop()
    return count


class _Waiting:
    """How many letters of each partition are still to be taken, of those that waited when it became ours."""

    def __init__(self) -> None:
        self._counts: dict[Partition, int] | None = None

    async def assigned(self, partitions: Collection[Partition]) -> None:  # noqa: ARG002
        """Forget: reading begins where the group left off, and what waits there is not known."""
        self._counts = None

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Do nothing: between two polls nothing is in flight."""

    async def count(self, consumer: Consumer) -> int:
        """Say how many there are, asking the log if partitions came since."""
        if self._counts is None:
            self._counts = dict(await consumer.lag())
        return sum(self._counts.values())

    def take(self, batches: Mapping[Partition, Sequence[Record]]) -> dict[Partition, Sequence[Record]]:
        """Give what waited, of what was polled."""
        if self._counts is None:
            # Partitions came during the poll, and what it gave of them must not be passed over.
            return dict(batches)
        taken: dict[Partition, Sequence[Record]] = {}
        for partition, records in batches.items():
            if most := self._counts.get(partition, 0):
                taken[partition] = records[:most]
                self._counts[partition] -= len(taken[partition])
        return taken
