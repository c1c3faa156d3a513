"""The batch that grows while the one before it is being applied.

Records are read in small portions, so that no portion keeps the event loop from the store's answers, and each
is prepared at once, while the store works. Whoever applies takes what has gathered: little when little comes,
up to the limit when the fold is behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sluice_streaming.messages import Partition, Record

Prepare = Callable[[Any, Sequence[Record]], Any]
"""Adds records to what was prepared of a batch so far (None at first) and gives the result, without waiting
and without an effect on anything else: what it made is dropped when the partitions move."""


def plain(prepared: list[Record] | None, records: Sequence[Record]) -> list[Record]:
    """Prepare nothing: what is applied are the records."""
    if prepared is None:
        return list(records)
    prepared.extend(records)
    return prepared


@dataclass(slots=True)
class Batch:
    """Records read in one `epoch`, prepared, and for each partition the offset after its last one.

    `since` is when the oldest of them was written (Unix seconds).
    """

    epoch: int
    size: int = 0
    since: float = float("inf")
    work: Any = None
    ends: dict[Partition, int] = field(default_factory=dict)


class Gathering:
    """Where reader and applier meet.

    Parameters
    ----------
    prepare
        See `Prepare`.
    limit
        The most records in a batch; the last portion may go beyond it.
    """

    def __init__(self, prepare: Prepare, limit: int) -> None:
        self._prepare = prepare
        self._limit = limit
        self._batch: Batch | None = None
        self._filled = asyncio.Event()
        self._full = asyncio.Event()
        self._taken = asyncio.Event()

    async def add(self, epoch: int, portion: Mapping[Partition, Sequence[Record]]) -> None:
        """Add what was read in `epoch`, once there is room.

        A batch of an earlier epoch is replaced, and what is itself of an earlier one is left out: both were
        read before the partitions moved, and will be read again.
        """
        while self._batch is not None and self._batch.epoch == epoch and self._batch.size >= self._limit:
            self._taken.clear()
            await self._taken.wait()
        batch = self._batch
        if batch is None or batch.epoch < epoch:
            batch = self._batch = Batch(epoch)
        elif batch.epoch > epoch:
            return
        records = [record for part in portion.values() for record in part]
        batch.work = self._prepare(batch.work, records)
        batch.size += len(records)
        batch.since = min(batch.since, *(part[0].timestamp / 1000 for part in portion.values()))
        for partition, part in portion.items():
            batch.ends[partition] = part[-1].offset + 1
        self._filled.set()
        if batch.size >= self._limit:
            self._full.set()

    @property
    def batch(self) -> Batch | None:
        """What has gathered and was not taken yet."""
        return self._batch

    async def take(self, pause: float = 0.0) -> Batch:
        """Give what has gathered, once there is something and it is full or `pause` seconds are over."""
        self._full.clear()
        if pause > 0 and (self._batch is None or self._batch.size < self._limit):
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._full.wait()
        while self._batch is None:
            self._filled.clear()
            await self._filled.wait()
        batch, self._batch = self._batch, None
        self._taken.set()
        return batch
