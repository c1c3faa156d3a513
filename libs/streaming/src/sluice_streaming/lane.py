"""A lane: one assigned partition on its way through the worker.

Records wait in it in order, leave it to be handled when they may, and its watermark tells how far it is
done. A lane knows nothing of tasks, Kafka or handlers' results.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from sluice_streaming import retries
from sluice_streaming.messages import Partition, Record
from sluice_streaming.step import Step
from sluice_streaming.watermark import Watermark

HIGH = 256
LOW = 64
HIGH_BYTES = 2 * 1024 * 1024
WINDOW = 8192


class Lane:
    """One partition.

    Parameters
    ----------
    partition
        The partition, of the step's topic or of one of its retry tiers.
    step
        Who handles its records.
    """

    def __init__(self, partition: Partition, step: Step[Any]) -> None:
        self.partition = partition
        self.step = step
        self.closed = False  # nothing of it is begun any more
        self.fenced = False  # what is still in flight does not count
        self.listed = False
        self.paused = False
        self.committed: int | None = None
        self._delay = _delay(step, partition.topic)
        self._ordered = step.topic.ordered
        self._queue: deque[Record] = deque()
        self._bytes = 0
        self._mark = Watermark()
        # Keys being handled, each with the records that wait for it (ordered topics only).
        self._busy: dict[bytes | None, deque[Record]] = {}
        self._freed: deque[Record] = deque()
        self._aside = 0

    def add(self, records: Iterable[Record]) -> None:
        """Append records just read, in offset order."""
        for record in records:
            self._queue.append(record)
            self._bytes += len(record.value or b"")

    def take(self, now: float) -> Record | None:
        """Give the next record that may be handled at `now` (Unix seconds); call `finish` when it is done."""
        if self._freed:
            record = self._freed.popleft()
            self._aside -= 1
            self._bytes -= len(record.value or b"")
            return record
        while self._queue and self._mark.span < WINDOW:
            record = self._queue[0]
            if self._delay is not None and retries.due(record, self._delay) > now:
                return None
            self._queue.popleft()
            self._mark.start(record.offset)
            if self._ordered and record.key in self._busy:
                self._busy[record.key].append(record)
                self._aside += 1
                continue
            if self._ordered:
                self._busy[record.key] = deque()
            self._bytes -= len(record.value or b"")
            return record
        return None

    def finish(self, record: Record) -> None:
        """Note that a record is done: handled, and what it led to acknowledged."""
        self._mark.finish(record.offset)
        if self._ordered:
            waiting = self._busy[record.key]
            if waiting:
                self._freed.append(waiting.popleft())
            else:
                del self._busy[record.key]

    def since(self, record: Record) -> float:
        """Give when a record could be handled first (Unix seconds): when it was written, or became due."""
        return record.timestamp / 1000 if self._delay is None else retries.due(record, self._delay)

    def waiting_since(self) -> float | None:
        """Give since when the record that waits longest could be handled (Unix seconds); None: none waits."""
        heads = [queue[0] for queue in (self._queue, self._freed, *self._busy.values()) if queue]
        return min((self.since(record) for record in heads), default=None)

    def due(self) -> float | None:
        """Give when the head may be handled (Unix seconds), or None if it need not wait for a time."""
        if self._delay is None or not self._queue or self._freed:
            return None
        return retries.due(self._queue[0], self._delay)

    @property
    def full(self) -> bool:
        """Whether reading on should pause."""
        return self.waiting >= HIGH or self._bytes >= HIGH_BYTES

    @property
    def low(self) -> bool:
        """Whether reading should go on."""
        return self.waiting <= LOW and self._bytes < HIGH_BYTES

    @property
    def waiting(self) -> int:
        """How many records were read and not begun."""
        return len(self._queue) + self._aside

    @property
    def uncommitted(self) -> int | None:
        """The offset to commit, or None if the last one committed still stands."""
        position = self._mark.position
        return None if position == self.committed else position


def _delay(step: Step[Any], topic: str) -> float | None:
    for tier in step.topic.retries:
        if step.topic.retry(tier) == topic:
            return tier.delay.total_seconds()
    return None
