"""Dispatch: which waiting record is handled next, and the life of each delivery until it is settled.

A delivery holds one of the slots while it is in its handler, so `concurrency` bounds the effects under way.
It gives the slot back before it waits for acknowledgements, so latency to the log does not bound the rate.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from time import perf_counter

import structlog

from sluice_streaming import metrics
from sluice_streaming.backend import Producer
from sluice_streaming.clock import Clock
from sluice_streaming.handling import DEAD, DONE, RETRIED, SKIPPED, Handling, Settlement
from sluice_streaming.lane import Lane
from sluice_streaming.letters import LetterCap
from sluice_streaming.limits import Limits
from sluice_streaming.messages import Record, header
from sluice_streaming.outcomes import Unavailable
from sluice_telemetry.trace import TRACEPARENT, bind, continued

log = structlog.get_logger(__name__)

TOO_LARGE = "too_large"
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


class Dispatcher:
    """Runs deliveries of the lanes it is given.

    Parameters
    ----------
    producer
        Where settlements are published.
    handlings
        One per topic name, retry tiers included.
    concurrency
        The most handlers at once.
    drained
        Called with a lane that has room for more records.
    """

    def __init__(
        self,
        producer: Producer,
        handlings: dict[str, Handling[object]],
        *,
        group: str,
        concurrency: int,
        clock: Clock,
        limits: Limits,
        drained: Callable[[Lane], None],
    ) -> None:
        self._producer = producer
        self._handlings = handlings
        self._free = concurrency
        self._unsettled_limit = concurrency + limits.unsettled
        self._clock = clock
        self._cap = LetterCap(limits.letters, limits.letter_window)
        self._drained = drained
        self._ready: deque[Lane] = deque()
        self._tasks: dict[asyncio.Task[None], Lane] = {}
        self._alarms: dict[Lane, asyncio.Task[None]] = {}
        self._away: Counter[str] = Counter()
        self._holding = 0
        self._open = True
        self._fenced = metrics.FENCED.labels(group)
        metrics.IN_FLIGHT.labels(group).set_function(lambda: len(self._tasks))
        self._seconds = {topic: metrics.SECONDS.labels(topic) for topic in handlings}
        self._handled = {
            (topic, outcome): metrics.HANDLED.labels(topic, outcome)
            for topic in handlings
            for outcome in (DONE, RETRIED, DEAD, SKIPPED)
        }
        self.settled = 0
        self._broken = asyncio.Event()
        self._error: BaseException | None = None

    def trouble(self) -> str | None:
        """Say what keeps deliveries from being settled, or None."""
        if self._holding:
            return "too many dead letters: paused"
        away = next((what for what, count in self._away.items() if count), None)
        return None if away is None else f"waiting for {away}"

    @property
    def busy(self) -> int:
        """How many deliveries are begun and not settled."""
        return len(self._tasks)

    def offer(self, lane: Lane) -> None:
        """Consider a lane that may have a record to handle now."""
        if not lane.listed and not lane.closed and lane.waiting:
            lane.listed = True
            self._ready.append(lane)

    def pump(self) -> None:
        """Begin deliveries while there are slots and records that may be handled."""
        ready, now = self._ready, self._clock.now()
        while ready and self._free and self._open and not self._holding:
            if len(self._tasks) >= self._unsettled_limit:
                return
            lane = ready[0]
            record = None if lane.closed else lane.take(now)
            if record is None:
                ready.popleft()
                lane.listed = False
                self._set_alarm(lane, now)
                continue
            ready.rotate(-1)
            self._free -= 1
            task = asyncio.get_running_loop().create_task(self._deliver(lane, record))
            self._tasks[task] = lane
            task.add_done_callback(self._ended)
            if lane.paused and lane.low:
                self._drained(lane)

    async def broke(self) -> None:
        """Wait for a delivery to raise what none should, and raise it."""
        await self._broken.wait()
        raise RuntimeError("a delivery broke") from self._error

    def close(self) -> None:
        """Begin nothing any more."""
        self._open = False
        for alarm in self._alarms.values():
            alarm.cancel()

    async def drain(self, lanes: Sequence[Lane], timeout: float) -> None:
        """Begin nothing of these lanes any more and wait for what is in flight of them.

        What is not done by `timeout` (seconds) is cancelled and fenced.
        """
        for lane in lanes:
            lane.closed = True
        tasks = [task for task, lane in self._tasks.items() if lane in lanes]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
        for lane in lanes:
            lane.fenced = True
            if alarm := self._alarms.pop(lane, None):
                alarm.cancel()
        late = [task for task in tasks if not task.done()]
        for task in late:
            task.cancel()
        if late:
            self._fenced.inc(len(late))
            log.warning("released unfinished deliveries", count=len(late))
            await asyncio.wait(late, timeout=1.0)

    def _ended(self, task: asyncio.Task[None]) -> None:
        lane = self._tasks.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Nothing in a delivery may raise. If it does all the same the record is not done, and only a
            # new process will deliver it again.
            self._error = error
            self._broken.set()
        self.offer(lane)
        self.pump()

    async def _deliver(self, lane: Lane, record: Record) -> None:
        bind(continued(header(record.headers, TRACEPARENT)))
        handling = self._handlings[record.topic]
        try:
            settlement = await self._handle(handling, record)
        finally:
            self._free += 1
            self.pump()
        if settlement.capped:
            await self._admit_letter(record)
        settlement = await self._publish(lane, handling, record, settlement)
        if lane.fenced:
            self._fenced.inc()
            return
        lane.finish(record)
        self.settled += 1
        self._handled[record.topic, settlement.outcome].inc()
        if settlement.code:
            metrics.FAILED.labels(record.topic, settlement.outcome, settlement.code).inc()

    async def _handle(self, handling: Handling[object], record: Record) -> Settlement:
        pause = _FIRST_PAUSE
        while True:
            begun = perf_counter()
            try:
                settlement = await handling.handle(record)
            except Unavailable as away:
                await self._wait_for(away.what, pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            if settlement.outcome != SKIPPED:
                self._seconds[record.topic].observe(perf_counter() - begun)
            return settlement

    async def _publish(
        self, lane: Lane, handling: Handling[object], record: Record, settlement: Settlement
    ) -> Settlement:
        pause = _FIRST_PAUSE
        while settlement.records and not lane.fenced:
            try:
                await self._producer.send(settlement.records)
                break
            except Unavailable as away:
                await self._wait_for(away.what, pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            except ValueError:
                if settlement.outcome == DEAD and settlement.records[0].value is None:
                    raise  # even without the value: nothing smaller is left to write
                log.error("results too large to publish", topic=record.topic, offset=record.offset)  # noqa: TRY400
                settlement = handling.refuse(record, TOO_LARGE)
                await self._admit_letter(record)
        return settlement

    async def _admit_letter(self, record: Record) -> None:
        """Wait until the cap lets one more dead letter through; nothing new begins meanwhile."""
        while (wait := self._cap.wait(self._clock.now())) > 0:
            if not self._holding:
                log.error("too many dead letters: paused", topic=record.topic, seconds=round(wait, 1))
            self._holding += 1
            try:
                await self._clock.sleep(wait)
            finally:
                self._holding -= 1
        self._cap.count(self._clock.now())

    async def _wait_for(self, what: str, pause: float) -> None:
        self._away[what] += 1
        try:
            await self._clock.sleep(pause)
        finally:
            self._away[what] -= 1

    def _set_alarm(self, lane: Lane, now: float) -> None:
        due = None if lane.closed else lane.due()
        if due is None or due <= now or lane in self._alarms or not self._open:
            return
        self._alarms[lane] = asyncio.get_running_loop().create_task(self._ring(lane, due - now))

    async def _ring(self, lane: Lane, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._alarms.pop(lane, None)
        self.offer(lane)
        self.pump()
