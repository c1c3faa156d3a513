"""The status ledger in memory, by the same rules as the one in Postgres (both pass one suite)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sluice_contracts import wire
from sluice_status.batch import Batch, Dead
from sluice_status.jobs import Ending, Job, Tally
from sluice_status.ladder import FINAL, ItemRow, instant, order, row_of
from sluice_status.ledger import Announced, Announcement, Offsets, RefusedError
from sluice_streaming.outcomes import Fenced


@dataclass(frozen=True)
class FakeRecord:
    """A record of which the fold reads all but its key and its time."""

    value: bytes
    offset: int
    partition: int = 0
    topic: str = "jobs.events"
    headers: tuple[tuple[str, bytes], ...] = ()
    key: bytes | None = None
    timestamp: int = 0


def records_of(events: Sequence[Any], start: int = 0, partition: int = 0) -> list[FakeRecord]:
    """Give events (or bytes) as records at successive offsets."""
    values = [event if isinstance(event, bytes) else wire.encode(event) for event in events]
    return [FakeRecord(value, start + n, partition) for n, value in enumerate(values)]


def spans(records: Sequence[FakeRecord], sizes: Iterator[int]) -> Iterator[list[FakeRecord]]:
    """Cut records into spans of these sizes."""
    left = list(records)
    while left:
        size = max(1, next(sizes))
        yield left[:size]
        left = left[size:]


@dataclass
class Tables:
    jobs: dict[str, Job] = field(default_factory=dict)
    items: dict[tuple[str, int], ItemRow] = field(default_factory=dict)
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    outbox: list[tuple[int, Announcement]] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    seq: int = 0

    def copy(self) -> Tables:
        return Tables(
            dict(self.jobs),
            dict(self.items),
            dict(self.offsets),
            list(self.outbox),
            list(self.dead),
            self.seq,
        )


class MemoryLedger:
    """See `sluice_status.ledger.Ledger`. A job id in `refused` is content that cannot be stored."""

    def __init__(self, refused: Collection[str] = ()) -> None:
        self.tables = Tables()
        self.announced_jobs: set[str] = set()
        self._refused = refused

    async def positions(self, topic: str, partitions: Collection[int]) -> dict[int, int]:
        return {partition: self.tables.offsets.setdefault((topic, partition), 0) for partition in partitions}

    def transaction(
        self, expected: Offsets, ahead: Offsets
    ) -> AbstractAsyncContextManager[MemoryTransaction]:
        return self._transaction(expected, ahead)

    @asynccontextmanager
    async def _transaction(self, expected: Offsets, ahead: Offsets) -> AsyncIterator[MemoryTransaction]:
        tables = self.tables.copy()
        if any(tables.offsets.get(place) != expected[place] for place in ahead):
            raise Fenced
        tables.offsets.update(ahead)
        yield MemoryTransaction(tables, self._refused)
        self.tables = tables

    async def outbox(self, partitions: Collection[int], limit: int) -> list[Announced]:
        waiting = [
            Announced(seq, it.job, it.type, it.body, it.trace)
            for seq, it in self.tables.outbox
            if it.partition in partitions
        ]
        return waiting[:limit]

    async def published(self, announced: Sequence[Announced]) -> None:
        gone = {it.seq for it in announced}
        self.tables.outbox = [it for it in self.tables.outbox if it[0] not in gone]
        self.announced_jobs |= {it.job for it in announced if it.type == "JobFinished"}

    async def rows(self) -> tuple[dict[str, Job], dict[tuple[str, int], ItemRow]]:
        """Give all jobs and all items, for a test to look at."""
        return self.tables.jobs, self.tables.items


class MemoryTransaction:
    """See `sluice_status.ledger.Transaction`."""

    def __init__(self, tables: Tables, refused: Collection[str]) -> None:
        self._tables = tables
        self._refused = refused

    async def lock(self, jobs: Collection[str]) -> dict[str, Job]:
        if any(job in self._refused for job in jobs):
            raise RefusedError("DataError")
        return {job: self._tables.jobs.setdefault(job, Job(job)) for job in jobs}

    async def lift(self, batch: Batch) -> dict[str, Tally]:
        tallies: dict[str, Tally] = {}
        for job, told in batch.jobs.items():
            changes = {70: 0, 60: 0, 50: 0, 40: 0}
            for position, (_, event) in told.items.items():
                row = row_of(event)._replace(at=instant(event.at))
                held = self._tables.items.get((job, position))
                if held is None or order(row) > order(held):
                    self._tables.items[job, position] = row
                    changes[row.rank] = changes.get(row.rank, 0) + 1
                    if held is not None:
                        changes[held.rank] = changes.get(held.rank, 0) - 1
            tallies[job] = Tally(changes[70], changes[60], changes[50], changes[40])
        return tallies

    async def endings(self, jobs: Mapping[str, int]) -> dict[str, Ending]:
        found: dict[str, Ending] = {}
        for job, planned in jobs.items():
            rows = {n: row for (owner, n), row in self._tables.items.items() if owner == job}
            if rows:
                ended = sum(row.rank >= FINAL and n < planned for n, row in rows.items())
                found[job] = Ending(ended, max(row.at for row in rows.values()))
        return found

    async def save(self, jobs: Sequence[Job]) -> None:
        self._tables.jobs.update({job.job: job for job in jobs})

    async def announce(self, announcements: Sequence[Announcement]) -> None:
        for it in announcements:
            self._tables.seq += 1
            self._tables.outbox.append((self._tables.seq, it))

    async def bury(self, dead: Sequence[Dead]) -> None:
        self._tables.dead += [it for it in dead if it not in self._tables.dead]
