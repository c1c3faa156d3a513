"""How far a partition is done: the end of the contiguous prefix of its records that are handled.

Records are handled many at a time and finish in any order, but Kafka keeps one number per partition: the
offset of the next record to read. Committing past a record that is still being handled would lose it in a
crash, so the number only moves over records that are done without a gap.
"""

from __future__ import annotations

from collections import deque


class Watermark:
    """Tracks one partition. Offsets are started in rising order and finished in any order.

    Gaps between started offsets are legal: compaction and control records leave them.
    """

    def __init__(self) -> None:
        self._started: deque[int] = deque()
        self._finished: set[int] = set()
        self._position: int | None = None

    def start(self, offset: int) -> None:
        """Note that the record at `offset` is being handled.

        Raises
        ------
        ValueError
            The offset does not rise.
        """
        last = self._started[-1] if self._started else (self._position or 0) - 1
        if offset <= last:
            raise ValueError(f"offset {offset} was started after {last}")
        self._started.append(offset)

    def finish(self, offset: int) -> None:
        """Note that the record at `offset` is done."""
        if not self._started or self._started[0] != offset:
            self._finished.add(offset)
            return
        started, finished = self._started, self._finished
        started.popleft()
        position = offset + 1
        while started and started[0] in finished:
            position = started.popleft() + 1
            finished.remove(position - 1)
        self._position = position

    @property
    def position(self) -> int | None:
        """The offset to commit: one past the last record of the done prefix; None while there is none."""
        return self._position

    @property
    def span(self) -> int:
        """How many records a crash now would deliver again."""
        return len(self._started)
