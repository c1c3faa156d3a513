"""Retries: which tier a failed message waits in, and what its headers remember of where it came from.

A tier is a topic whose messages all wait equally long, so they become due in the order they lie in and a
consumer only ever waits for the head of a partition. The original record's partition goes on meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from sluice_contracts.topics import RetryTier
from sluice_streaming.messages import Headers, Record, header

PREFIX = "sluice-"
ATTEMPT = "sluice-attempt"
DUE = "sluice-due"
FIRST_FAILED = "sluice-first-failed"
CODE = "sluice-code"
STATUS = "sluice-status"
ORIGIN_TOPIC = "sluice-origin-topic"
ORIGIN_PARTITION = "sluice-origin-partition"
ORIGIN_OFFSET = "sluice-origin-offset"


def choose_tier(tiers: Sequence[RetryTier], attempt: int, after: float | None) -> RetryTier:
    """Give the tier for a message whose `attempt` (from 1) failed.

    Each attempt moves one tier up, and the last tier repeats. `after` (seconds) raises the choice to the
    shortest tier that is at least that long, or to the longest there is.
    """
    chosen = min(max(attempt, 1), len(tiers)) - 1
    while after is not None and chosen < len(tiers) - 1 and tiers[chosen].delay.total_seconds() < after:
        chosen += 1
    return tiers[chosen]


@dataclass(frozen=True, slots=True)
class History:
    """What a message's headers remember of its failures; times are Unix seconds."""

    attempt: int
    origin_topic: str
    origin_partition: int
    origin_offset: int
    first_failed: float | None = None
    due: float | None = None

    @classmethod
    def of(cls, record: Record) -> Self:
        """Read a record's history; one that was never retried is its own origin, at attempt 1."""
        headers = record.headers
        attempt = _number(headers, ATTEMPT)
        if attempt is None:
            return cls(1, record.topic, record.partition, record.offset)
        origin = header(headers, ORIGIN_TOPIC)
        return cls(
            attempt=max(1, int(attempt)),
            origin_topic=origin.decode("utf-8", "replace") if origin is not None else record.topic,
            origin_partition=int(_or(_number(headers, ORIGIN_PARTITION), record.partition)),
            origin_offset=int(_or(_number(headers, ORIGIN_OFFSET), record.offset)),
            first_failed=_number(headers, FIRST_FAILED),
            due=_number(headers, DUE),
        )

    def headers(self, code: str, status: int | None = None) -> Headers:
        """Give the headers that carry this history, with the code and HTTP status of the latest failure."""
        return (
            (ATTEMPT, str(self.attempt).encode()),
            (CODE, code.encode()),
            *(() if status is None else ((STATUS, str(status).encode()),)),
            (ORIGIN_TOPIC, self.origin_topic.encode()),
            (ORIGIN_PARTITION, str(self.origin_partition).encode()),
            (ORIGIN_OFFSET, str(self.origin_offset).encode()),
            *_time(FIRST_FAILED, self.first_failed),
            *_time(DUE, self.due),
        )


def due(record: Record, delay: float) -> float:
    """Give when a record of a tier with that `delay` (seconds) may be handled (Unix seconds).

    What its header names, but never later than the tier's delay after it was written: a clock gone wrong,
    or a forged header, must not hold a partition.
    """
    latest = record.timestamp / 1000 + delay
    named = _number(record.headers, DUE)
    return latest if named is None else min(named, latest)


def foreign(headers: Sequence[tuple[str, bytes]]) -> Headers:
    """Give the headers that are the message's own, without the runtime's."""
    return tuple(pair for pair in headers if not pair[0].startswith(PREFIX))


def _time(name: str, value: float | None) -> Headers:
    return () if value is None else ((name, f"{value:.3f}".encode()),)


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _number(headers: Sequence[tuple[str, bytes]], name: str) -> float | None:
    text = header(headers, name)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    # `nan` and the infinities parse, and would hold a partition for ever.
    return number if abs(number) < 2**53 else None
