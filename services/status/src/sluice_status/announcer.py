"""Publishes what the fold decided: the end of jobs on jobs.events, their standing on jobs.state.

Announcements are committed with the rows they speak of and leave the outbox only after Kafka has acknowledged
them, so each is published at least once; after a crash perhaps again, with the same content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack

import msgspec
import structlog

from sluice_contracts.events import JobFinished
from sluice_contracts.states import JobState
from sluice_contracts.topics import JOBS_EVENTS, JOBS_STATE
from sluice_status import metrics
from sluice_status.ledger import Announced, Ledger
from sluice_streaming.backend import Publisher
from sluice_streaming.messages import Message
from sluice_streaming.outcomes import Unavailable
from sluice_telemetry.spans import Kind, hop
from sluice_telemetry.trace import TRACEPARENT, Trace, bind

log = structlog.get_logger(__name__)

_AT_ONCE = 500
_LONGEST_PAUSE = 5.0


class Announcer:
    """Empties the outbox of the partitions that this process folds, whenever it is woken.

    Parameters
    ----------
    ledger
        Holds the outbox.
    publisher
        Where to.
    partitions
        Gives the partitions this process folds now.
    """

    def __init__(
        self, ledger: Ledger, publisher: Publisher, partitions: Callable[[], Collection[int]]
    ) -> None:
        self._ledger = ledger
        self._publisher = publisher
        self._partitions = partitions
        self._work = asyncio.Event()

    def wake(self) -> None:
        """Say that there may be something to publish."""
        self._work.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop` is set; what is left then is published by whoever comes next."""
        stopped = asyncio.ensure_future(stop.wait())
        pause = 0.1
        try:
            while not stop.is_set():
                woken = asyncio.ensure_future(self._work.wait())
                await asyncio.wait({woken, stopped}, return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
                self._work.clear()
                try:
                    await self.drain()
                    pause = 0.1
                except Unavailable as error:
                    log.warning("announcements wait", away=error.what)
                    await asyncio.wait({stopped}, timeout=pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
                    self._work.set()
        finally:
            stopped.cancel()

    async def drain(self) -> None:
        """Publish all there is.

        Raises
        ------
        Unavailable
            Kafka or Postgres is away; call again.
        """
        while partitions := self._partitions():
            waiting = await self._ledger.outbox(partitions, _AT_ONCE)
            if not waiting:
                return
            metrics.WAITING.set(len(waiting))
            await self._publish(waiting)
            await self._ledger.published(waiting)
            for it in waiting:
                metrics.ANNOUNCED.labels(it.type).inc()
            metrics.WAITING.set(0)
            if len(waiting) < _AT_ONCE:
                return

    async def _publish(self, waiting: Sequence[Announced]) -> None:
        with ExitStack() as spans:
            messages = []
            for it in waiting:
                # Each belongs to the trace of what led to it, which is over for this process by now.
                span = spans.enter_context(hop(f"{it.type} publish", Kind.PRODUCER, it.trace))
                span.set("sluice.job", it.job)
                messages.append(_message(it, span.trace))
            bind(None)
            await self._publisher.publish(messages)


def _message(it: Announced, trace: Trace) -> Message:
    headers = ((TRACEPARENT, str(trace).encode()),)
    if it.type == "JobFinished":
        return Message(JOBS_EVENTS, it.job, msgspec.json.decode(it.body, type=JobFinished), headers)
    return Message(JOBS_STATE, it.job, msgspec.json.decode(it.body, type=JobState), headers)
