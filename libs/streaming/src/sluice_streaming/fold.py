"""The fold: reads one topic in large batches into a store that keeps the offsets itself.

The store's transaction writes rows and offsets together, so it alone says how far the fold has come. After
every assignment the fold asks it and reads on from there; what it commits to Kafka is a hint, by which lag
can be seen from outside. While one batch is being applied the next is being fetched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog

from sluice_contracts.topics import Topic
from sluice_streaming import metrics
from sluice_streaming.backend import Backend
from sluice_streaming.gathering import Batch, Gathering, Prepare, plain
from sluice_streaming.messages import Partition, Record
from sluice_streaming.outcomes import Fenced, Unavailable
from sluice_streaming.starting import unless
from sluice_streaming.watchdog import Watchdog

log = structlog.get_logger(__name__)

Positions = Callable[[Collection[int]], Awaitable[Mapping[int, int]]]
"""Gives, for those of the asked partitions that were folded before, the offset of the next record."""

Apply = Callable[[Any], Awaitable[None]]
"""Applies a batch: each partition's records in offset order, without a gap to what was applied before. It is
given the records, or what `Prepare` made of them.

Writes effects and offsets in one transaction. It must check there that each stored offset is where the
batch begins (`UPDATE … WHERE next = first`), and raise `Fenced` if one is not: another process has taken
the partition over. May raise `Unavailable`; the same batch is then applied again."""

_POLL_SECONDS = 0.5
_PORTION = 250
# How long before a batch begins the reader looks for what came, as a share of the pace.
_LEAD = 0.2
_HINT_EVERY = 1.0
_LAG_EVERY = 5.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_STOP_SECONDS = 20.0
_LEAVE_SECONDS = 5.0


class Fold:
    """Reads `topic` as a member of `group` and applies its records in batches.

    Parameters
    ----------
    positions, apply
        The store; see `Positions` and `Apply`.
    max_batch
        The most records in a batch.
    prepare
        See `Prepare`; without one `apply` is given the records. It runs while the batch before is being
        applied, so that decoding one and writing the other take the same time.
    pace
        Seconds from the beginning of one batch to that of the next, unless that is a full one; a record that
        comes alone does not wait.
    stuck
        Seconds of lag without progress after which it gives up; 0 is for ever.
    now
        The wall clock (Unix seconds), for how long records have waited.
    """

    def __init__(
        self,
        backend: Backend,
        group: str,
        topic: Topic,
        positions: Positions,
        apply: Apply,
        *,
        max_batch: int = 2000,
        prepare: Prepare | None = None,
        pace: float = 0.0,
        stuck: float = 300.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._group = group
        self._topic = topic
        self._now = now
        self._positions = positions
        self._apply = apply
        self._gathering = Gathering(prepare or plain, max_batch)
        self._pace = pace
        self._due = 0.0  # when the next batch may begin, by the loop's clock
        self._looked = 0.0  # when the batch may begin for which the reader looked once more
        self._portion = min(max_batch, _PORTION)
        self._consumer = backend.consumer(group, [topic.name], self)
        self._ours: list[Partition] = []
        self._next: dict[Partition, int] = {}
        self._hinted: dict[Partition, int] = {}
        self._epoch = 0
        self._placed = False
        self._applying = asyncio.Lock()
        self._watchdog = Watchdog(stuck)
        self._trouble: str | None = "starting"
        self._away: str | None = None
        self._folded = metrics.FOLDED.labels(group)
        self._lag = metrics.LAG.labels(group, topic.name)
        self._lag_seconds = metrics.LAG_SECONDS.labels(group, topic.name)
        self._taken: Batch | None = None

    def ready(self) -> bool | str:
        """Say whether records flow: True, or what they wait for."""
        return self._trouble or self._away or True

    async def run(self, stop: asyncio.Event) -> None:
        """Fold until `stop` is set; the batch being applied is finished.

        Raises
        ------
        Stuck
            There was lag and no progress for too long; end the process, so that another takes over.
        """
        if not await unless(stop, self._consumer.start()):
            return
        log.info("folding", group=self._group, topic=self._topic.name)
        loops: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._read()),
            asyncio.create_task(self._fold()),
            asyncio.create_task(self._hint()),
            asyncio.create_task(self._watch()),
        ]
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*loops, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._trouble = "stopping"
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS), self._applying:
                    self._lose_place()
            for task in (*loops, stopping):
                task.cancel()
            await asyncio.gather(*loops, stopping, return_exceptions=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await self._commit()
                    await self._consumer.stop()
        for task in done:
            task.result()

    # -- assignments

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """Go on where the store says, once it was asked (called by the backend)."""
        self._watchdog.progress()
        self._ours = list(partitions)
        self._lose_place()
        log.info("assigned", group=self._group, partitions=len(partitions))

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Let the batch under way finish and drop what was fetched (called by the backend)."""
        metrics.REBALANCES.labels(self._group).inc()
        async with self._applying:
            self._lose_place()
        await self._commit()
        log.info("revoked", group=self._group, partitions=len(partitions))
        self._ours = []
        self._next = {}

    def _lose_place(self) -> None:
        """Drop what was fetched until now; the store will be asked where to go on."""
        self._placed = False
        self._epoch += 1

    async def _find_place(self) -> None:
        """Ask the store how far it is and read on from there.

        The reader does this, not the rebalance: the store may be away, and the group must not wait for it.
        """
        ours = self._ours
        stored = await self._positions([partition.partition for partition in ours])
        if ours is self._ours:
            for partition in ours:
                self._consumer.seek(partition, stored.get(partition.partition, 0))
            self._placed = True

    # -- reading and applying

    async def _read(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                if self._ours and not self._placed:
                    await self._find_place()
                batches = await self._consumer.poll(_POLL_SECONDS, self._portion)
            except Unavailable as away:
                self._trouble = f"waiting for {away.what}"
                self._watchdog.progress()
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            if pause != _FIRST_PAUSE or self._trouble == "starting":
                pause, self._trouble = _FIRST_PAUSE, None
            if self._placed and batches:
                # Nothing was awaited since poll took the records, so they are of this epoch.
                await self._gathering.add(self._epoch, batches)
                # Nothing above need have waited for anything: let the store's answers be heard.
                await asyncio.sleep(self._rest(batches))

    def _rest(self, batches: Mapping[Partition, Sequence[Record]]) -> float:
        """Give how long what was written meanwhile may stay with the broker, which then is asked less often.

        Whoever is behind, or is not paced, reads on at once; all others shortly before the next batch begins.
        They look twice then: the client has the first record that came, all others are still with the broker.
        """
        newest = max(part[-1].timestamp for part in batches.values())
        behind = self._now() - newest / 1000 >= self._pace
        more = sum(map(len, batches.values())) >= self._portion
        if behind or more:
            return 0.0
        lead = self._pace * _LEAD
        left = max(0.0, self._due - asyncio.get_running_loop().time())
        if left > lead:
            return left - lead
        if left and self._looked != self._due:
            self._looked = self._due
            return 0.0
        # What was read is taken then, or now if the batch is due; what comes meanwhile is for the next one.
        return left + self._pace - lead

    async def _fold(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._taken = batch = await self._gathering.take(self._due - loop.time())
            self._due = loop.time() + self._pace
            pause = _FIRST_PAUSE
            while not await self._attempt(batch):
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            self._taken = None

    async def _attempt(self, batch: Batch) -> bool:
        """Apply a batch; False if that must be tried again."""
        async with self._applying:
            if batch.epoch != self._epoch:
                return True  # dropped: it will be fetched again, here or elsewhere
            try:
                await self._apply(batch.work)
            except Unavailable as away:
                self._trouble = f"waiting for {away.what}"
                self._watchdog.progress()
                return False
            except Fenced:
                log.warning("the store is elsewhere: reading on from there", group=self._group)
                self._lose_place()
                return True
            self._trouble = None
            self._watchdog.progress()
            self._folded.inc(batch.size)
            self._next.update(batch.ends)
            return True

    # -- hints and watching

    async def _hint(self) -> None:
        while True:
            await asyncio.sleep(_HINT_EVERY)
            await self._commit()

    async def _commit(self) -> None:
        ends = {partition: offset for partition, offset in self._next.items() if partition in self._ours}
        if not ends or ends == self._hinted:
            return
        with suppress(Fenced, Unavailable):
            await self._consumer.commit(ends)
            self._hinted = ends

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LAG_EVERY)
            try:
                lag = sum((await self._consumer.lag()).values())
            except Unavailable as away:
                self._away = f"waiting for {away.what}"
                self._watchdog.progress()  # a log that is away is not a consumer that sleeps
                continue
            self._away = None
            self._report(lag)
            self._watchdog.check(lag, busy=int(self._applying.locked()))

    def _report(self, behind: int) -> None:
        """Set the lag metrics; `behind` records are not read yet."""
        waiting = [batch for batch in (self._taken, self._gathering.batch) if batch is not None]
        self._lag.set(behind + sum(batch.size for batch in waiting))
        oldest = min((batch.since for batch in waiting), default=None)
        self._lag_seconds.set(0.0 if oldest is None else max(0.0, self._now() - oldest))
