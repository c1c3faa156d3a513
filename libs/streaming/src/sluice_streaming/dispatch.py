"""Dispatch: which waiting record is handled next, and the life of each delivery until it is settled.

A delivery holds a slot for each of its items while it is in its handler, so `concurrency` bounds the effects
under way. It gives them back before it waits for acknowledgements, so latency to the log does not bound the
rate; those of items that are passed on ahead of the rest it gives back then.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

import structlog

from sluice_streaming import metrics
from sluice_streaming.backend import Producer
from sluice_streaming.clock import Clock
from sluice_streaming.handling import DEAD, DONE, PUT_OFF, RETRIED, SKIPPED, Ahead, Handling, Settlement
from sluice_streaming.lane import Lane
from sluice_streaming.letters import LetterCap
from sluice_streaming.limits import Limits
from sluice_streaming.messages import Record, header
from sluice_streaming.outcomes import Unavailable
from sluice_streaming.slots import Slots, hold
from sluice_telemetry.spans import Kind, hop
from sluice_telemetry.trace import TRACEPARENT

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
        As long as fewer items are in handlers, one more delivery begins.
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
        metrics.IN_FLIGHT.labels(group).set_function(lambda: concurrency - self._free)
        self._seconds = {topic: metrics.SECONDS.labels(topic) for topic in handlings}
        self._settled_after = {topic: metrics.SETTLED.labels(topic) for topic in handlings}
        self._handled = {
            (topic, outcome): metrics.HANDLED.labels(topic, outcome)
            for topic in handlings
            for outcome in (DONE, RETRIED, PUT_OFF, DEAD, SKIPPED)
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
        while ready and self._free > 0 and self._open and not self._holding:
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
            handling = self._handlings[record.topic]
            command = handling.read(record)
            slots = Slots(self.slots, handling.weigh(command))
            task = asyncio.get_running_loop().create_task(
                self._deliver(lane, record, handling, command, slots)
            )
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

    async def _deliver(
        self, lane: Lane, record: Record, handling: Handling[object], command: object, slots: Slots
    ) -> None:
        traceparent = header(record.headers, TRACEPARENT)
        with hop(f"{record.topic} process", Kind.CONSUMER, traceparent) as span:
            settlement = await self._settle(lane, record, handling, command, slots)
            span.set("sluice.outcome", settlement.outcome)
            span.set("sluice.code", settlement.code or None)
        if lane.fenced:
            self._fenced.inc()
            return
        lane.finish(record)
        self.settled += 1
        self._settled_after[record.topic].observe(max(0.0, self._clock.now() - lane.since(record)))
        self._count(record, settlement.outcome, settlement.code)
        for outcome, code in settlement.pieces:
            self._count(record, outcome, code)

    async def _settle(
        self, lane: Lane, record: Record, handling: Handling[object], command: object, slots: Slots
    ) -> Settlement:
        """Handle a record and publish what that leads to."""
        hold(slots)
        ahead = partial(self._pass_on, lane, record, slots)
        try:
            settlement = await self._handle(handling, record, command, ahead, slots)
        finally:
            slots.close()
        if settlement.capped:
            await self._admit_letter(record)
        return await self._publish(lane, handling, record, settlement)

    async def _handle(
        self, handling: Handling[object], record: Record, command: object, ahead: Ahead, slots: Slots
    ) -> Settlement:
        pause = _FIRST_PAUSE
        while True:
            begun = perf_counter()
            try:
                settlement = await handling.handle(record, command, ahead)
            except Unavailable as away:
                await self._wait_for(away.what, pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                # It begins again with all of its items.
                slots.take()
                continue
            if settlement.outcome != SKIPPED:
                self._seconds[record.topic].observe(perf_counter() - begun)
            return settlement

    async def _pass_on(
        self,
        lane: Lane,
        record: Record,
        slots: Slots,
        settlement: Settlement,
        done: int,
    ) -> None:
        """Publish what a part of a delivery came to; the rest goes on."""
        slots.give(done)
        if settlement.capped:
            await self._admit_letter(record)
        if not lane.fenced:
            await self._producer.send(settlement.records)
            self.settled += 1
            for outcome, code in settlement.pieces:
                self._count(record, outcome, code)

    def _count(self, record: Record, outcome: str, code: str) -> None:
        self._handled[record.topic, outcome].inc()
        if code:
            metrics.FAILED.labels(record.topic, outcome, code).inc()

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

    def slots(self, count: int) -> None:
        """Take `count` slots back from deliveries, or give them (negative)."""
        self._free += count
        if count > 0:
            self.pump()

    def _set_alarm(self, lane: Lane, now: float) -> None:
        due = None if lane.closed else lane.due()
        if due is None or due <= now or lane in self._alarms or not self._open:
            return
        self._alarms[lane] = asyncio.get_running_loop().create_task(self._ring(lane, due))

    async def _ring(self, lane: Lane, due: float) -> None:
        # Time may have passed since the alarm was set.
        await self._clock.sleep(due - self._clock.now())
        self._alarms.pop(lane, None)
        self.offer(lane)
        self.pump()
