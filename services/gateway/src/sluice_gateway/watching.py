"""Watching jobs as they go: one reader of the log for everyone who watches at this gateway.

The reader is there while anybody watches. It hands each event of a job on, as the bytes that it is, to those
who watch that job; those who watch all their jobs are told, a few times a second, how the changed ones stand.
Whoever reads too slowly is cut off, and may come back and go on where they were.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import structlog
from prometheus_client import Gauge

from sluice_gateway.all_jobs import AnyJobRow
from sluice_gateway.watches import JobsWatch, JobWatch, Told, told_of
from sluice_storage.pool import TRANSIENT
from sluice_streaming.messages import Record
from sluice_streaming.outcomes import Unavailable
from sluice_streaming.tail import Tail
from sluice_telemetry.logs import describe

log = structlog.get_logger(__name__)

WATCHERS = Gauge("sluice_gateway_watchers", "Streams of events that are open.", ["of"])
MOST_REPEATED = 50_000
"""Records of the log that are searched for what somebody missed."""
TICK = 0.25
"""Seconds between two looks at how changed jobs stand."""
_PLACE = re.compile(r"([0-9]{1,6})-([0-9]{1,18})")
_IDLE = 0.5
_LINGER = 30.0
_AGAIN = 1.0
_PATIENCE = 3.0
# How often a job is looked for whose event came before the status service had folded it.
_LOOKS = 20

Look = Callable[[Collection[str]], Awaitable[Sequence[AnyJobRow]]]
"""Gives how jobs stand, whoever's they are."""


class Place(NamedTuple):
    """Where an event is on the log."""

    partition: int
    offset: int

    @classmethod
    def read(cls, text: str) -> Place | None:
        """Read the id of an event, as a `Last-Event-ID` repeats it; None if it is none."""
        found = _PLACE.fullmatch(text)
        return None if found is None else cls(int(found[1]), int(found[2]))


class Watching:
    """Hands events on to those who watch.

    Parameters
    ----------
    tail
        Reads `jobs.events`.
    look
        Gives how jobs stand.
    linger
        Seconds for which the reader stays when nobody watches any more.
    """

    def __init__(self, tail: Tail, look: Look, *, linger: float = _LINGER) -> None:
        self._tail = tail
        self._look = look
        self._linger = linger
        self._of_one: dict[bytes, set[JobWatch]] = {}
        self._of_all: set[JobsWatch] = set()
        self._changed: dict[str, int] = {}  # jobs to be looked at, and how often they were not found
        self._places: dict[int, int] = {}
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def ready(self) -> None:
        """Wait until the log is read.

        Raises
        ------
        Unavailable
            It is away, or the gateway stops.
        """
        if self._closed:
            raise Unavailable("kafka")
        if self._task is None or self._task.done():
            self._ready.clear()
            self._task = asyncio.create_task(self._run(), name="read events for those who watch")
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._ready.wait()
        except TimeoutError:
            raise Unavailable("kafka") from None

    @contextmanager
    def job(self, job: str) -> Iterator[JobWatch]:
        """Watch a job, once `ready`."""
        key, watch = job.encode(), JobWatch(dict(self._places))
        self._of_one.setdefault(key, set()).add(watch)
        with WATCHERS.labels("job").track_inprogress():
            try:
                yield watch
            finally:
                self._of_one[key].discard(watch)
                if not self._of_one[key]:
                    del self._of_one[key]

    @contextmanager
    def jobs(self, wants: Callable[[AnyJobRow], bool]) -> Iterator[JobsWatch]:
        """Watch all jobs that are wanted, once `ready`."""
        watch = JobsWatch(wants)
        self._of_all.add(watch)
        with WATCHERS.labels("jobs").track_inprogress():
            try:
                yield watch
            finally:
                self._of_all.discard(watch)

    async def missed(self, job: str, watch: JobWatch, after: Place) -> AsyncIterator[list[Told]]:
        """Give a job's events behind a place, up to where the watch began.

        Nothing, if that is too much to search, or no place of the log.

        Raises
        ------
        Unavailable
            The log is away.
        """
        end = watch.began.get(after.partition, 0)
        if not end - MOST_REPEATED <= after.offset < end:
            return
        key = job.encode()
        async for records in self._tail.stretch(after.partition, after.offset + 1, end):
            told = [told_of(record) for record in records if record.key == key]
            if found := [each for each in told if each is not None]:
                yield found

    async def close(self) -> None:
        """Let everybody go, and stop reading."""
        self._closed = True
        self._let_go()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        """Read while anybody watches, and a while longer; what is away is waited for."""
        try:
            while not await self._read_once():  # noqa: ASYNC110 - Kafka tells nobody that it is back
                await asyncio.sleep(_AGAIN)
        except Exception as error:
            log.error("reading events failed", **describe(error))  # noqa: TRY400
            self._let_go()
        finally:
            self._ready.clear()
            await self._tail.stop()

    async def _read_once(self) -> bool:
        """Read until nobody watches; False: the log is away."""
        try:
            self._places = dict(await self._tail.start())
            self._ready.set()
            await self._read()
        except Unavailable as away:
            # Whoever watches comes back, and asks for what was missed.
            log.info("watching waits", what=away.what)
            self._ready.clear()
            self._let_go()
            await self._tail.stop()
            return False
        return True

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        watched_at = looked_at = loop.time()
        while True:
            for record in await self._tail.poll(TICK if self._changed else _IDLE):
                self._pass_on(record)
            now = loop.time()
            if self._changed and now - looked_at >= TICK:
                looked_at = now
                await self._tell_changes()
            if self._of_one or self._of_all:
                watched_at = now
            elif now - watched_at >= self._linger:
                return

    def _pass_on(self, record: Record) -> None:
        self._places[record.partition] = record.offset + 1
        key = record.key
        if key is None:
            return
        if (watches := self._of_one.get(key)) and (told := told_of(record)) is not None:
            for watch in watches:
                watch.put(told)
        if self._of_all:
            self._changed[key.decode("ascii", "replace")] = 0

    async def _tell_changes(self) -> None:
        changed, self._changed = self._changed, {}
        try:
            rows = await self._look(list(changed))
        except TRANSIENT as error:
            log.info("watching waits for Postgres", error=type(error).__name__)
            self._changed = {**changed, **self._changed}
            return
        for row in rows:
            del changed[row.job]
            for watch in self._of_all:
                watch.put(row)
        for job, looks in changed.items():
            if looks < _LOOKS:
                self._changed.setdefault(job, looks + 1)

    def _let_go(self) -> None:
        for watch in [each for some in self._of_one.values() for each in some]:
            watch.end()
        for each in self._of_all:
            each.end()
