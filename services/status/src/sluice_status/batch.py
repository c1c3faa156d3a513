"""A span of the log, made small: per item the one event that stands, per job what is new about it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from sluice_contracts.events import (
    SEVERAL,
    DocumentAttached,
    FileOutcome,
    ItemCancelled,
    ItemEvent,
    ItemFailed,
    ItemRetrying,
    JobCancelled,
    JobPlanned,
    each,
)
from sluice_contracts.progress import ItemRank
from sluice_contracts.wire import Decoder, MalformedMessageError, UnknownTypeError
from sluice_status.ladder import RANKS, instant, order, row_of
from sluice_streaming.messages import Record

_JOB = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# The one character that JSON can hold and Postgres cannot.
_NUL = "a text with a NUL"
_SKIPPED = int(ItemRank.SKIPPED)
# Looked up once: asking an enumeration's class for a member is a call.
_LEFT_OUT = FileOutcome.SKIPPED
_CANCELLED = int(ItemRank.CANCELLED)


@dataclass(frozen=True, slots=True)
class Dead:
    """A record that is not what its topic promises: where it is and a hash, never what it holds."""

    topic: str
    partition: int
    offset: int
    reason: str
    sha256: bytes

    @classmethod
    def of(cls, record: Record, reason: str) -> Dead:
        """Give the note about this record."""
        digest = hashlib.sha256(record.value or b"").digest()
        return cls(record.topic, record.partition, record.offset, reason, digest)


@dataclass(slots=True)
class News:
    """What a batch says about one job.

    `items` maps a position to the rank and the event that stands for it. `times` has, for each type of its
    items' events, when the first and the last happened. `last` is the last record of it.
    """

    last: Record = field(compare=False)
    planned: JobPlanned | None = None
    cancelled_at: float | None = None
    items: dict[int, tuple[int, ItemEvent]] = field(default_factory=dict)
    times: dict[type[Any], list[float]] = field(default_factory=dict)

    def plan(self, event: JobPlanned) -> None:
        """Take note of a plan; of several the earliest stands."""
        if self.planned is None or plan_order(event) < plan_order(self.planned):
            self.planned = event

    def cancel(self, at: float) -> None:
        """Take note of a cancellation; of several the earliest stands."""
        if self.cancelled_at is None or at < self.cancelled_at:
            self.cancelled_at = at

    def lift(self, rank: int, event: ItemEvent) -> None:
        """Let `event` stand for its item if it is greater than what stood so far."""
        held = self.items.get(event.item)
        if (
            held is None
            or rank > held[0]
            or (rank == held[0] and order(row_of(event)) > order(row_of(held[1])))
        ):
            self.items[event.item] = (rank, event)


def plan_order(event: JobPlanned) -> tuple[float, str, str, str, float, int]:
    """Give a key by which plans of one job compare; the smallest stands."""
    return (event.at, event.kind, event.client, event.subject, event.submitted_at, event.items)


@dataclass(slots=True)
class Batch:
    """A span of the log, folded.

    `next_offsets` is the first offset after it, per topic and partition.
    """

    jobs: dict[str, News] = field(default_factory=dict)
    next_offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    dead: list[Dead] = field(default_factory=list)
    types: Counter[type[Any]] = field(default_factory=Counter)
    unknown: int = 0
    records: int = 0

    def cancel_items(self, job: str, count: int, at: float) -> None:
        """Count every item of a job that has not ended as cancelled at `at`."""
        for position in range(count):
            self.jobs[job].lift(_CANCELLED, ItemCancelled(job=job, at=at, item=position))

    def take(self, record: Record, event: Any) -> None:
        """Take note of anything but an item's event, also of what is wrong with the record."""
        if isinstance(event, UnknownTypeError):
            self.unknown += 1
        elif isinstance(event, MalformedMessageError):
            self.dead.append(Dead.of(record, str(event)))
        elif isinstance(event, JobPlanned):
            if "\0" in event.client or "\0" in event.subject:
                self.dead.append(Dead.of(record, _NUL))
            elif news := self.about(record, event.job):
                at, submitted = instant(event.at), instant(event.submitted_at)
                news.plan(replace(event, at=at, submitted_at=submitted))
        elif isinstance(event, JobCancelled) and (news := self.about(record, event.job)):
            news.cancel(instant(event.at))

    def about(self, record: Record, job: str) -> News | None:
        """Give what the batch says about a job, or None, and note the record, if that is no job's id."""
        news = self.jobs.get(job)
        if news is None:
            if not _JOB.fullmatch(job):
                self.dead.append(Dead.of(record, "a job that is no id"))
                return None
            news = self.jobs[job] = News(record)
        news.last = record
        return news


def read(batch: Batch, records: Sequence[Record], decoder: Decoder[Any]) -> None:
    """Fold records of one topic, in log order per partition, into a batch.

    What the topic's decoder does not know is counted, what it calls malformed is noted as dead. Neither stops
    the rest. This loop runs for every event there is: it does little, and calls less.
    """
    jobs = batch.jobs
    rank_of = RANKS.get
    events: list[Any] = decoder.decode_each([record.value or b"" for record in records])
    kinds = Counter(map(type, events))
    told: Iterable[tuple[Record, Any]] = zip(records, events, strict=True)
    if not SEVERAL.isdisjoint(kinds):
        told = _taken_apart(told)
    for record, event in told:
        kind = type(event)
        rank = rank_of(kind)
        if rank is None:
            batch.take(record, event)
            continue
        news = jobs.get(event.job) or batch.about(record, event.job)
        if news is None:
            continue
        if kind is DocumentAttached:
            if "\0" in event.file:
                batch.dead.append(Dead.of(record, _NUL))
                continue
            if event.outcome is _LEFT_OUT:
                rank = _SKIPPED
        elif (kind is ItemFailed or kind is ItemRetrying) and "\0" in event.code:
            batch.dead.append(Dead.of(record, _NUL))
            continue
        news.last = record
        at = event.at
        span = news.times.get(kind)
        if span is None:
            news.times[kind] = [at, at]
        elif at < span[0]:
            span[0] = at
        elif at > span[1]:
            span[1] = at
        items = news.items
        held = items.get(event.item)
        if held is None or rank > held[0]:
            items[event.item] = (rank, event)
        elif rank == held[0]:
            news.lift(rank, event)
    batch.records += len(records)
    batch.types.update(kinds)
    last = {record.partition: record for record in records}
    for record in last.values():
        batch.next_offsets[record.topic, record.partition] = record.offset + 1


def _taken_apart(told: Iterable[tuple[Record, Any]]) -> Iterator[tuple[Record, Any]]:
    for record, event in told:
        if type(event) in SEVERAL:
            for one in each(event):
                yield record, one
        else:
            yield record, event
