"""The worker: reads its steps' topics, handles many records at a time, and commits last.

For each record: the handler's effect, then its messages with acknowledgement, then the offset. A crash
between any two of these repeats the delivery, and changes nothing, because effects are idempotent. When a
partition moves, what is in flight is given time to finish; what does not is cancelled and fenced, and the
new owner does it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog

from sluice_streaming import metrics
from sluice_streaming.backend import Backend
from sluice_streaming.clock import Clock, SystemClock
from sluice_streaming.dispatch import Dispatcher
from sluice_streaming.handling import Handling
from sluice_streaming.lane import Lane
from sluice_streaming.limits import Limits
from sluice_streaming.messages import Partition
from sluice_streaming.outcomes import Fenced, Unavailable
from sluice_streaming.starting import unless
from sluice_streaming.step import Step
from sluice_streaming.watchdog import Watchdog

log = structlog.get_logger(__name__)

_POLL_SECONDS = 0.5
_POLL_RECORDS = 512
_LAST_COMMIT_SECONDS = 2.0
_LEAVE_SECONDS = 3.0
_LAG_EVERY = 5.0


class Worker:
    """Runs steps over a backend.

    Parameters
    ----------
    backend
        Kafka or memory.
    group
        The consumer group; processes of one group share its topics' partitions.
    steps
        One per topic.
    concurrency
        How many items may be in handlers at once, over all steps. A message about several items begins
        while there is room for one.
    clock
        Tells when retries are due.
    limits
        See `Limits`.
    """

    def __init__(
        self,
        backend: Backend,
        group: str,
        steps: Sequence[Step[Any]],
        *,
        concurrency: int = 64,
        clock: Clock | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._group = group
        self._limits = limits or Limits()
        self._producer = backend.producer()
        self._steps = {name: step for step in steps for name in _topics(step)}
        self._consumer = backend.consumer(group, list(self._steps), self)
        self._lanes: dict[Partition, Lane] = {}
        self._clock = clock = clock or SystemClock()
        handlings = {step.topic.name: Handling(step, clock, self._limits.attempts) for step in steps}
        self._dispatcher = Dispatcher(
            self._producer,
            {name: handlings[step.topic.name] for name, step in self._steps.items()},
            group=group,
            concurrency=concurrency,
            clock=clock,
            limits=self._limits,
            drained=self._resume,
        )
        self._watchdog = Watchdog(self._limits.stuck)
        self._trouble: str | None = "starting"
        self._away: str | None = None

    def ready(self) -> bool | str:
        """Say whether deliveries flow: True, or what they wait for."""
        return self._trouble or self._dispatcher.trouble() or self._away or self._producer.ready()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish or release what is in flight.

        Raises
        ------
        Stuck
            There was lag and no progress for too long; end the process, so that another takes over.
        """
        if not await unless(stop, self._producer.start()):
            return
        try:
            if await unless(stop, self._consumer.start()):
                log.info("working", group=self._group, topics=sorted(self._steps))
                await self._work(stop)
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await self._consumer.stop()
            await self._producer.stop()

    async def _work(self, stop: asyncio.Event) -> None:
        loops: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._read()),
            asyncio.create_task(self._commit_often()),
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._dispatcher.broke()),
        ]
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*loops, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._trouble = "stopping"
            self._dispatcher.close()
            for task in (*loops, stopping):
                task.cancel()
            await asyncio.gather(*loops, stopping, return_exceptions=True)
            await self._release(list(self._lanes.values()), self._limits.stop)
        for task in done:
            task.result()

    # -- reading

    async def _read(self) -> None:
        pause = 0.1
        while True:
            try:
                batches = await self._consumer.poll(_POLL_SECONDS, _POLL_RECORDS)
            except Unavailable as away:
                self._trouble = f"waiting for {away.what}"
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)
                continue
            pause, self._trouble = 0.1, None
            for partition, records in batches.items():
                lane = self._lanes.get(partition)
                if lane is None:
                    continue
                lane.add(records)
                self._watchdog.progress()
                if lane.full and not lane.paused:
                    lane.paused = True
                    self._consumer.pause([partition])
                self._dispatcher.offer(lane)
            if batches:
                self._dispatcher.pump()

    def _resume(self, lane: Lane) -> None:
        lane.paused = False
        self._consumer.resume([lane.partition])

    # -- rebalances

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """Take partitions over (called by the backend)."""
        # Whatever was not revoked before may have had another owner since: its offsets are not ours.
        await self._dispatcher.drain(list(self._lanes.values()), 0.0)
        self._lanes = {p: Lane(p, self._steps[p.topic]) for p in partitions}
        self._watchdog.progress()
        log.info("assigned", group=self._group, partitions=len(partitions))

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Let partitions go: drain, commit, fence (called by the backend)."""
        metrics.REBALANCES.labels(self._group).inc()
        lanes = [self._lanes.pop(p) for p in partitions if p in self._lanes]
        await self._release(lanes, self._limits.drain)

    async def _release(self, lanes: list[Lane], timeout: float) -> None:
        await self._dispatcher.drain(lanes, timeout)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_COMMIT_SECONDS):
                await self._commit(lanes)

    # -- offsets

    async def _commit_often(self) -> None:
        while True:
            await asyncio.sleep(self._limits.commit_every)
            await self._commit(self._lanes.values())

    async def _commit(self, lanes: Iterable[Lane]) -> None:
        moved = [(lane, offset) for lane in lanes if (offset := lane.uncommitted) is not None]
        if not moved:
            return
        try:
            await self._consumer.commit({lane.partition: offset for lane, offset in moved})
        except Unavailable as away:
            log.info("offsets not committed yet", group=self._group, waiting=away.what)
        except Fenced:
            log.info("offsets not committed: partitions moved", group=self._group)
        else:
            for lane, offset in moved:
                lane.committed = offset

    # -- watching

    async def _watch(self) -> None:
        settled = 0
        while True:
            await asyncio.sleep(_LAG_EVERY)
            if self._dispatcher.settled != settled or self._dispatcher.trouble():
                settled = self._dispatcher.settled
                self._watchdog.progress()
            try:
                lag = await self._consumer.lag()
            except Unavailable as away:
                self._away = f"waiting for {away.what}"
                self._watchdog.progress()  # a log that is away is not a consumer that sleeps
                continue
            self._away = None
            self._watchdog.check(self._report(lag), busy=self._dispatcher.busy)

    def _report(self, lag: Mapping[Partition, int]) -> int:
        """Set the lag metrics and give the lag that should be shrinking."""
        totals = dict.fromkeys(self._steps, 0)
        expected = 0
        for partition, behind in lag.items():
            lane = self._lanes.get(partition)
            totals[partition.topic] += behind + (0 if lane is None else lane.waiting)
            # A paused lane is full of records that are not due, or has deliveries in flight.
            expected += 0 if lane is not None and lane.paused else behind
        for topic, total in totals.items():
            metrics.LAG.labels(self._group, topic).set(total)
            metrics.LAG_SECONDS.labels(self._group, topic).set(self._waited(topic))
        return expected

    def _waited(self, topic: str) -> float:
        # What is not read yet was written after what is: a lane that reads on holds the oldest.
        lanes = [lane for partition, lane in self._lanes.items() if partition.topic == topic]
        oldest = min((since for lane in lanes if (since := lane.waiting_since()) is not None), default=None)
        return 0.0 if oldest is None else max(0.0, self._clock.now() - oldest)


def _topics(step: Step[Any]) -> list[str]:
    return [step.topic.name, *(step.topic.retry(tier) for tier in step.topic.retries)]
