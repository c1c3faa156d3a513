"""The fold: spans of jobs.events in, rows, offsets and announcements out, in one transaction per span."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from sluice_contracts import wire
from sluice_contracts.topics import JOBS_EVENTS
from sluice_status import metrics
from sluice_status.batch import Batch, Dead, News, read
from sluice_status.jobs import FINISHED, Ending, Job, cancels, count, end, finished, learn, standing
from sluice_status.ledger import Announcement, Ledger, RefusedError, Transaction
from sluice_status.pace import Pace
from sluice_streaming.messages import Record, header
from sluice_streaming.outcomes import Fenced
from sluice_telemetry.trace import TRACEPARENT, parse

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Span:
    """Some records of the log and what they come to."""

    records: list[Record] = field(default_factory=list)
    batch: Batch = field(default_factory=Batch)


@dataclass(frozen=True, slots=True)
class Folded:
    """What a span came to: how many announcements, the jobs told of, and jobs before and after."""

    announcements: int = 0
    told: Sequence[Job] = ()
    changed: Sequence[tuple[Job, Job]] = ()


class Folder:
    """Folds spans of the log into a ledger.

    One instance per process; the runtime calls it for the partitions that this process is assigned. It may
    prepare a span while the one before is being applied, but never applies two at a time.

    Parameters
    ----------
    ledger
        Where to.
    pace
        How often a running job's state is told.
    wake
        Called after a commit that left announcements to publish.
    """

    def __init__(self, ledger: Ledger, pace: Pace, wake: Callable[[], None]) -> None:
        self._ledger = ledger
        self._pace = pace
        self._wake = wake
        self._decoder: wire.Decoder[Any] = wire.Decoder(JOBS_EVENTS.messages)
        self._reached: dict[tuple[str, int], int] = {}

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions of `jobs.events` that this process folds."""
        return frozenset(partition for _, partition in self._reached)

    async def positions(self, partitions: Collection[int]) -> dict[int, int]:
        """Take over exactly these partitions and give the offset to read each one from.

        Raises
        ------
        Unavailable
            The database is away.
        """
        found = await self._ledger.positions(JOBS_EVENTS.name, partitions)
        self._reached = {(JOBS_EVENTS.name, partition): offset for partition, offset in found.items()}
        self._wake()
        return found

    def prepare(self, span: Span | None, records: Sequence[Record]) -> Span:
        """Add records to a span, made small; begin a span if there is none.

        Neither waits nor changes anything else: it may be done while another span is applied.
        """
        span = span or Span()
        span.records.extend(records)
        read(span.batch, records, self._decoder)
        return span

    async def apply(self, span: Span) -> None:
        """Fold a span: when this returns, its rows and its offsets are committed together.

        Raises
        ------
        Fenced
            Another process folds one of these partitions: ask for positions again and read on from there.
        Unavailable
            The database is away: bring the same span again.
        """
        records = span.records
        try:
            await self._write(span.batch)
        except RefusedError as error:
            if len(records) > 1:
                # One record must not stop the rest: find it by halves.
                middle = len(records) // 2
                await self.apply(self.prepare(None, records[:middle]))
                await self.apply(self.prepare(None, records[middle:]))
                return
            log.error("the database refuses a record", reason=str(error), **_place(records[0]))  # noqa: TRY400
            await self._write(_refused(records[0], span.batch))

    async def _write(self, batch: Batch) -> None:
        started = time.perf_counter()
        ahead = batch.next_offsets
        try:
            expected = {place: self._reached[place] for place in ahead}
        except KeyError:
            raise Fenced from None
        async with self._ledger.transaction(expected, ahead) as transaction:
            folded = await self._fold(transaction, batch)
        for place in ahead.keys() & self._reached.keys():
            self._reached[place] = ahead[place]
        self._pace.told(folded.told)
        if folded.announcements:
            self._wake()
        metrics.observe(batch, time.perf_counter() - started)
        metrics.observe_jobs(folded.changed)

    async def _fold(self, transaction: Transaction, batch: Batch) -> Folded:
        if batch.dead:
            await transaction.bury(batch.dead)
        if not batch.jobs:
            return Folded()
        held = await transaction.lock(batch.jobs)
        jobs = {job: learn(held[job], news) for job, news in batch.jobs.items()}
        for job, news in batch.jobs.items():
            row = jobs[job]
            if cancels(row, news):
                batch.cancel_items(job, row.items, row.cancelled_at or 0.0)
        for job, tally in (await transaction.lift(batch)).items():
            jobs[job] = count(jobs[job], tally)
        jobs = await _ended(transaction, jobs)
        changed = [row for job, row in jobs.items() if row != held[job]]
        if changed:
            await transaction.save(changed)
        announcements, told = await self._announce(transaction, batch.jobs, held, changed)
        return Folded(announcements, told, [(held[row.job], row) for row in changed])

    async def _announce(
        self,
        transaction: Transaction,
        news: Mapping[str, News],
        held: Mapping[str, Job],
        changed: Sequence[Job],
    ) -> tuple[int, list[Job]]:
        announcements: list[Announcement] = []
        told: list[Job] = []
        for row in changed:
            before, last = held[row.job], news[row.job].last
            place, trace = last.partition, parse(header(last.headers, TRACEPARENT))
            parent = None if trace is None else str(trace)
            if row.state == FINISHED and before.state != FINISHED:
                body = wire.encode(finished(row))
                announcements.append(Announcement(place, row.job, "JobFinished", body, parent))
            if row.kind is not None and (row.state != before.state or self._pace.due(row)):
                body = wire.encode(standing(row))
                announcements.append(Announcement(place, row.job, "JobState", body, parent))
                told.append(row)
        if announcements:
            await transaction.announce(announcements)
        return len(announcements), told


async def _ended(transaction: Transaction, jobs: dict[str, Job]) -> dict[str, Job]:
    candidates = {job: row.items for job, row in jobs.items() if row.may_have_ended}
    if not candidates:
        return jobs
    endings = await transaction.endings(candidates)
    nothing = Ending(0, 0.0)
    return {
        job: end(row, endings.get(job, nothing)) if job in candidates else row for job, row in jobs.items()
    }


def _refused(record: Record, batch: Batch) -> Batch:
    dead = Dead.of(record, "content that the database refuses")
    return Batch(next_offsets=batch.next_offsets, dead=[dead], records=1)


def _place(record: Record) -> dict[str, object]:
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}
