"""Redrive: dead letters go back to their topic, once each.

How far a dead-letter topic was redriven is the committed offset of a consumer group, so running it again
goes on from there. A crash between a letter's publication and its commit repeats it; that is a second
delivery like any other.
"""

from __future__ import annotations

import sys
from collections.abc import Collection

from sluice_contracts.topics import Topic
from sluice_streaming.backend import Backend
from sluice_streaming.messages import Outgoing, Partition
from sluice_streaming.retries import foreign

_POLL_SECONDS = 1.0
_BATCH = 200


def redrive_group(topic: Topic) -> str:
    """Name the group that remembers how far a topic's dead letters were redriven."""
    return f"sluice-redrive.{topic.name}"


async def redrive(backend: Backend, topic: Topic, limit: int | None = None) -> int:
    """Publish a topic's dead letters to it again, as new messages at attempt 1; give how many.

    Letters that were written without their value (it was too large) are passed over.

    Parameters
    ----------
    topic
        The topic whose dead letters are meant.
    limit
        How many letters to look at, at most.
    """
    producer = backend.producer()
    consumer = backend.consumer(redrive_group(topic), [topic.dead], _Unconcerned())
    left = sys.maxsize if limit is None else limit
    count = 0
    await producer.start()
    try:
        await consumer.start()
        try:
            while left > 0:
                batches = await consumer.poll(_POLL_SECONDS, min(_BATCH, left))
                if not batches and not any((await consumer.lag()).values()):
                    break
                letters = [letter for records in batches.values() for letter in records]
                again = [
                    Outgoing(topic.name, letter.key, letter.value, foreign(letter.headers))
                    for letter in letters
                    if letter.value is not None
                ]
                await producer.send(again)
                await consumer.commit({p: records[-1].offset + 1 for p, records in batches.items()})
                left -= len(letters)
                count += len(again)
        finally:
            await consumer.stop()
    finally:
        await producer.stop()
    return count


class _Unconcerned:
    async def assigned(self, partitions: Collection[Partition]) -> None:
        """Do nothing: reading begins where the group left off."""

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Do nothing: between two polls nothing is in flight."""
