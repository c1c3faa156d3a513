"""Consumer groups of the in-memory log: eager rebalances, generations and commits, as Kafka has them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from sluice_streaming.backend import Assignee
from sluice_streaming.messages import Partition, Record
from sluice_streaming.outcomes import Fenced

if TYPE_CHECKING:
    from sluice_streaming.memory import MemoryBroker


class Group:
    """The members of one group and its committed offsets."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.offsets: dict[Partition, int] = {}
        self._broker = broker
        self._members: list[MemoryConsumer] = []
        self._lock = asyncio.Lock()

    async def join(self, member: MemoryConsumer) -> None:
        """Let a member in and share the partitions anew."""
        async with self._lock:
            await self._revoke(self._members)
            self._members.append(member)
            await self._assign()

    async def leave(self, member: MemoryConsumer) -> None:
        """Let a member out and share the partitions anew."""
        async with self._lock:
            if member not in self._members:
                return
            self._members.remove(member)
            member.positions = {}
            await self._revoke(self._members)
            await self._assign()

    async def _revoke(self, members: Sequence[MemoryConsumer]) -> None:
        await asyncio.gather(*(member.give_up() for member in members))

    async def _assign(self) -> None:
        members = list(self._members)
        shares: dict[MemoryConsumer, list[Partition]] = {member: [] for member in members}
        topics = sorted({topic for member in members for topic in member.topics})
        turn = 0
        for topic in topics:
            takers = [member for member in members if topic in member.topics]
            for number in range(self._broker.partitions):
                shares[takers[turn % len(takers)]].append(Partition(topic, number))
                turn += 1
        for member, share in shares.items():
            await member.take_over({p: self.offsets.get(p, 0) for p in share})
        self._broker.wake()


class MemoryConsumer:
    """A member of a group; see `Consumer`."""

    def __init__(self, broker: MemoryBroker, group: Group, topics: Sequence[str], assignee: Assignee) -> None:
        self.topics = tuple(topics)
        self.positions: dict[Partition, int] = {}
        self._broker = broker
        self._group = group
        self._assignee = assignee
        self._paused: set[Partition] = set()
        self._reading = True
        self._gone = False

    async def start(self) -> None:
        """Wait until the log is there, and join."""
        while not self._broker.available:
            await self._broker.change()
        await self._group.join(self)

    async def stop(self) -> None:
        """Leave the group."""
        self._gone = True
        await self._group.leave(self)

    async def vanish(self) -> None:
        """Be gone without notice."""
        self._gone = True
        self._assignee = _Nobody()
        await self._group.leave(self)

    async def give_up(self) -> None:
        """Let go of all partitions, in a rebalance."""
        self._reading = False
        if self.positions:
            await self._assignee.revoked(list(self.positions))

    async def take_over(self, positions: Mapping[Partition, int]) -> None:
        """Begin with these partitions at these offsets, in a rebalance."""
        self.positions = dict(positions)
        self._paused.clear()
        await self._assignee.assigned(list(positions))
        self._reading = True

    async def poll(self, timeout: float, limit: int) -> Mapping[Partition, Sequence[Record]]:
        """Give records; see `Consumer`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self._available():
                    self._broker.require()
                    await self._broker.change()
        self._broker.require()
        await asyncio.sleep(0)
        return self._take(limit)

    def pause(self, partitions: Collection[Partition]) -> None:
        """Give no more records of these."""
        self._paused.update(partitions)

    def resume(self, partitions: Collection[Partition]) -> None:
        """Give records of these again."""
        self._paused.difference_update(partitions)
        self._broker.wake()

    def seek(self, partition: Partition, offset: int) -> None:
        """Go on at `offset`."""
        if partition in self.positions:
            self.positions[partition] = offset
            self._broker.wake()

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Record offsets; see `Consumer`."""
        await asyncio.sleep(0)
        self._broker.require()
        if self._gone or any(partition not in self.positions for partition in offsets):
            raise Fenced
        self._group.offsets.update(offsets)

    async def lag(self) -> Mapping[Partition, int]:
        """Give what lies after the last record polled."""
        await asyncio.sleep(0)
        self._broker.require()
        return {p: len(self._broker.log(p)) - at for p, at in self.positions.items()}

    def _available(self) -> bool:
        return self._reading and any(
            at < len(self._broker.log(p)) for p, at in self.positions.items() if p not in self._paused
        )

    def _take(self, limit: int) -> dict[Partition, Sequence[Record]]:
        taken: dict[Partition, Sequence[Record]] = {}
        if not self._reading or self._gone:
            return taken
        for partition, at in self.positions.items():
            if limit > 0 and partition not in self._paused:
                records = self._broker.log(partition)[at : at + limit]
                if records:
                    taken[partition] = records
                    self.positions[partition] = at + len(records)
                    limit -= len(records)
        return taken


class _Nobody:
    async def assigned(self, partitions: Collection[Partition]) -> None:
        """Hear nothing."""

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Hear nothing."""
