"""A span of the log, made small: per item the one event that stands, per job what is new about it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec.structs import replace

from sluice_contracts.events import (
    DocumentAttached,
    Event,
    FileOutcome,
    ItemCancelled,
    ItemEvent,
    ItemFailed,
    ItemRetrying,
    JobCancelled,
    JobPlanned,
)
from sluice_contracts.progress import ItemRank
from sluice_contracts.wire import MalformedMessageError, UnknownTypeError
from sluice_status.ladder import RANKS, instant, order, row_of

_JOB = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SKIPPED = int(ItemRank.SKIPPED)
_CANCELLED = int(ItemRank.CANCELLED)


class LogRecord(Protocol):
    """What the fold needs of a record."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Dead:
    """A record that is not what its topic promises: where it is and a hash, never what it holds."""

    topic: str
    partition: int
    offset: int
    reason: str
    sha256: bytes

    @classmethod
    def of(cls, record: LogRecord, reason: str) -> Dead:
        """Give the note about this record."""
        digest = hashlib.sha256(record.value or b"").digest()
        return cls(record.topic, record.partition, record.offset, reason, digest)


@dataclass(slots=True)
class News:
    """What a batch says about one job.

    `items` maps a position to the rank and the event that stands for it. `partition` is where it was read.
    """

    partition: int
    planned: JobPlanned | None = None
    cancelled_at: float | None = None
    items: dict[int, tuple[int, ItemEvent]] = field(default_factory=dict)

    def plan(self, event: JobPlanned) -> None:
        """Take note of a plan; of several the earliest stands."""
        if self.planned is None or plan_order(event) < plan_order(self.planned):
            self.planned = event

    def cancel(self, at: float) -> None:
        """Take note of a cancellation; of several the earliest stands."""
        if self.cancelled_at is None or at < self.cancelled_at:
            self.cancelled_at = at

    def cancel_items(self, job: str, count: int, at: float) -> None:
        """Count every item that has not ended as cancelled at `at`."""
        for position in range(count):
            self.lift(_CANCELLED, ItemCancelled(job=job, at=at, item=position))

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
    """A span of the log, folded. `next_offsets` is the first offset after it, per topic and partition."""

    jobs: dict[str, News] = field(default_factory=dict)
    next_offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    dead: list[Dead] = field(default_factory=list)
    types: Counter[type[Event]] = field(default_factory=Counter)
    unknown: int = 0
    records: int = 0


def read(records: Sequence[LogRecord], decode: Callable[[bytes], Event]) -> Batch:
    """Fold records of one topic, in log order per partition, into a batch.

    `decode` is the topic's decoder; what it does not know is counted, what it calls malformed is noted as
    dead. Neither stops the rest.
    """
    batch = Batch()
    jobs = batch.jobs
    types: list[type[Event]] = []
    last: dict[int, LogRecord] = {}
    for record in records:
        last[record.partition] = record
        try:
            event = decode(record.value or b"")
            news = jobs.get(event.job)
            if news is None:
                news = _open(jobs, event.job, record.partition)
            kind = type(event)
            types.append(kind)
            if not isinstance(event, ItemEvent):
                _note(news, event)
                continue
            rank = RANKS[kind]
            if isinstance(event, DocumentAttached):
                _plain(event.file)
                if event.outcome is FileOutcome.SKIPPED:
                    rank = _SKIPPED
            elif isinstance(event, ItemFailed | ItemRetrying):
                _plain(event.code)
            held = news.items.get(event.item)
            if held is None or rank > held[0]:
                news.items[event.item] = (rank, event)
            elif rank == held[0]:
                news.lift(rank, event)
        except UnknownTypeError:
            batch.unknown += 1
        except MalformedMessageError as error:
            batch.dead.append(Dead.of(record, str(error)))
    batch.types = Counter(types)
    batch.records = len(records)
    batch.next_offsets = {(it.topic, it.partition): it.offset + 1 for it in last.values()}
    return batch


def _open(jobs: dict[str, News], job: str, partition: int) -> News:
    if not _JOB.fullmatch(job):
        raise MalformedMessageError("a job that is no id")
    return jobs.setdefault(job, News(partition))


def _note(news: News, event: Event) -> None:
    if isinstance(event, JobPlanned):
        _plain(event.client)
        _plain(event.subject)
        news.plan(replace(event, at=instant(event.at), submitted_at=instant(event.submitted_at)))
    elif isinstance(event, JobCancelled):
        news.cancel(instant(event.at))


def _plain(text: str) -> None:
    # The one character JSON can hold and Postgres cannot.
    if "\0" in text:
        raise MalformedMessageError("a text with a NUL")
