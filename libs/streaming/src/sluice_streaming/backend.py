"""What the runtime needs of a log: Kafka in production, memory in tests, behind one set of protocols.

Whatever holds of one implementation holds of the other: both pass the same contract tests.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from sluice_streaming.messages import Message, Outgoing, Partition, Record


class Publisher(Protocol):
    """What publishes messages, for those who need no more of a producer."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish messages and return when all of them are acknowledged by every in-sync replica.

        Messages of one key keep the order of their calls. They carry the running task's trace.

        Raises
        ------
        Unavailable
            The log did not acknowledge in time. What was sent may still appear: publish it again.
        ValueError
            A message is larger than the log accepts; publishing it again will not help.
        """


class Producer(Publisher, Protocol):
    """Publishes; one per process, shared by everything in it."""

    async def start(self) -> None:
        """Connect, waiting for the log to answer as long as that takes."""

    async def stop(self) -> None:
        """Wait for what is under way, within a few seconds, and disconnect."""

    def ready(self) -> bool | str:
        """Say whether what is published is acknowledged: True, or what it waits for."""

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Publish bytes as they are and wait for acknowledgement without end; otherwise as `publish`.

        A record with neither key nor value gets an empty value.
        """


class Assignee(Protocol):
    """Who is told when partitions come and go. Both calls are awaited before the rebalance goes on."""

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """Take these partitions over; they, and no others, are ours from now on."""

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Let these partitions go; may still commit. Nothing of them is read after this returns."""


class Consumer(Protocol):
    """A member of a consumer group. Not shared between tasks, except that any may commit."""

    async def start(self) -> None:
        """Join the group, waiting for the log to answer as long as that takes."""

    async def stop(self) -> None:
        """Leave the group. `Assignee.revoked` is not called: commit first."""

    async def poll(self, timeout: float, limit: int) -> Mapping[Partition, Sequence[Record]]:
        """Give up to `limit` new records of the assigned, unpaused partitions, in offset order.

        Waits up to `timeout` seconds for the first. The caller sees them before any `revoked` call that
        comes later.

        Raises
        ------
        Unavailable
            The log cannot be reached now; poll again.
        """

    def pause(self, partitions: Collection[Partition]) -> None:
        """Give no more records of these partitions; what was read ahead is kept."""

    def resume(self, partitions: Collection[Partition]) -> None:
        """Give records of these partitions again, also to a poll that is already waiting."""

    def seek(self, partition: Partition, offset: int) -> None:
        """Give that partition's records from `offset` on."""

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Record, for each partition, the offset of the next record to read.

        Raises
        ------
        Fenced
            A partition is not ours any more; nothing was recorded.
        Unavailable
            The log did not answer; commit again.
        """

    async def lag(self) -> Mapping[Partition, int]:
        """Give how many records lie after the last one polled, asking the log itself.

        Raises
        ------
        Unavailable
            The log did not answer.
        """


class Backend(Protocol):
    """Makes producers and consumers of one log."""

    async def cluster(self) -> str:
        """Give the log's own id, waiting for it to answer as long as that takes.

        Another log has another id, also one that took this one's place at the same address.
        """

    def producer(self) -> Producer:
        """Make a producer; it is not started."""

    def consumer(self, group: str, topics: Sequence[str], assignee: Assignee) -> Consumer:
        """Make a member of `group` that reads `topics` by name; it is not started.

        A partition without a committed offset is read from its beginning.
        """
