"""One source's share of our attention: how many requests at once, how many a second, and when none at all."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext

from sluice_contracts.errors import ItemError
from sluice_fhir.conditions import Bounds, Grant, Seen
from sluice_fhir.putting_off import PuttingOff
from sluice_fhir.sources import Source
from sluice_fhir.tally import Tally
from sluice_security.failure import SourceFailure

_TOO_MANY = 429
_OVERLOADED = 503
_SERVER_ERROR = 500
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_ROOM = 256  # calls that wait and give their slots to others meanwhile
_ALIVE_SECONDS = 600.0
_REMEMBERED = 0.8


class Throttle:
    """Lets requests to one source through, and learns from its answers.

    The number at once falls by half when the source says 429 or 503. When the source names a time
    (`Retry-After`), nothing is sent until then, whichever item asks. How it grows again, and what share of it
    this process has, all processes decide together (`grant`); where they do not share, it grows by one per
    round of good answers up to the registered limit.

    Parameters
    ----------
    concurrency
        The most requests under way at once.
    rate
        The most begun in a second, None for no limit.
    patience
        How long (seconds) a request waits here for its turn. One that would have to wait longer fails at once
        with `SOURCE_THROTTLED` and the time after which to ask again, so that work for other sources goes on;
        it does not count as a failure as long as the source answers others.
    longest
        The longest (seconds) a source can hold us back at a time.
    idle
        Entered while a request waits for its turn.
    hungry
        Called when a request has to wait for a first grant; with it nothing is sent before one is given.
    """

    def __init__(
        self,
        concurrency: int,
        rate: float | None = None,
        *,
        patience: float = 5.0,
        longest: float = 3600.0,
        idle: Callable[[], AbstractContextManager[object]] = nullcontext,
        hungry: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._bounds = Bounds(concurrency, rate)
        self._shared = hungry is not None
        self._allowed = 0.0 if self._shared else float(concurrency)
        self._gap = 1 / rate if rate else 0.0
        self._patience = patience
        self._longest = longest
        self._idle = idle
        self._hungry = hungry or (lambda: None)
        self._clock = clock
        self._sleep = sleep
        self._active = 0
        self._waiting = 0
        self._next = 0.0
        self._held_until = 0.0
        self._cut_at = float("-inf")
        self._alive_at = clock()
        self._strikes = 0
        self._turn = 0.0  # seconds that a turn lasts, lately
        # Whose turn is next, and until when (seconds of the event loop) each waits: all equally long, so that
        # one timer, for the first, serves them all.
        self._queue: deque[tuple[asyncio.Future[bool], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._putting_off = PuttingOff()
        self._wanted = 0
        self._tally = Tally()

    @property
    def active(self) -> int:
        """How many requests are under way."""
        return self._active

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return self._waiting

    @property
    def allowed(self) -> int:
        """How many may be under way at once just now."""
        return int(self._allowed)

    @property
    def starved(self) -> bool:
        """Whether calls wait that were granted nothing."""
        return bool(self._waiting) and not self._allowed

    @property
    def rate(self) -> float:
        """How many may begin in a second just now."""
        return 1 / self._gap if self._gap else math.inf

    @property
    def held_for(self) -> float:
        """For how many seconds nothing is sent from now on."""
        return max(0.0, self._held_until - self._clock())

    @property
    def bounds(self) -> Bounds:
        """What is registered."""
        return self._bounds

    def configure(self, concurrency: int, rate: float | None) -> None:
        """Take over changed limits; what was learned stays as far as they allow."""
        grown = concurrency > self._bounds.concurrency and not self._shared
        self._bounds = Bounds(concurrency, rate)
        self._allowed = float(concurrency) if grown else min(self._allowed, concurrency)
        self._gap = 1 / rate if rate else 0.0
        self._wake()

    def grant(self, given: Grant) -> None:
        """Take over what this process may do until the next grant."""
        self._allowed = float(min(given.concurrency, self._bounds.concurrency))
        self._gap = 1 / given.rate if given.rate else 0.0
        self._held_until = max(self._held_until, self._clock() + given.held_for)
        self._wake()

    def wanted(self) -> int:
        """Give how many requests at once there could have been at most since this was asked last."""
        wanted, self._wanted = self._wanted, self._active + self._waiting
        return max(wanted, self._wanted)

    @property
    def saw(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._tally)

    def seen(self) -> Seen:
        """Give what was seen since this was asked last."""
        return self._tally.take(self._clock(), self.held_for)

    def unsee(self, seen: Seen) -> None:
        """Take back what could not be told."""
        self._tally.add(seen)

    async def enter(self) -> float:
        """Wait for a turn and give the time at which it began, to be handed to `leave`.

        Raises
        ------
        SourceFailure
            `SOURCE_THROTTLED`: it would have to wait for longer than our patience.
        """
        self._wanted = max(self._wanted, self._active + self._waiting + 1)
        if not self._allowed:
            self._hungry()
        wait = self._expected()
        if wait > self._patience:
            raise self._put_off()
        if wait or self._queue or self._active >= self.allowed:
            await self._wait()
        else:
            self._active += 1
            self._next = max(self._clock(), self._next) + self._gap
        return self._clock()

    def answered(self, seconds: float) -> None:
        """Note how long an answer took to begin."""
        self._tally.answered += 1
        self._tally.seconds += seconds

    def leave(self, began: float, status: int | None, after: float | None = None) -> None:
        """End the turn that began then, and learn from its answer.

        Parameters
        ----------
        began
            What `enter` gave.
        status
            The answer's status, None if there was none.
        after
            The answer's Retry-After in seconds, if it had one.
        """
        tally, now = self._tally, self._clock()
        self._turn = self._turn * _REMEMBERED + (now - began) * (1 - _REMEMBERED)
        if status in (_TOO_MANY, _OVERLOADED):
            tally.refused += 1
            tally.refused_at = began
            self._slow_down(began, status, after)
        elif status is not None and status < _SERVER_ERROR:
            tally.good += 1
            self._strikes = 0
            self._alive_at = now
            if self._allowed < self._bounds.concurrency and not self._shared:
                self._allowed = min(self._bounds.concurrency, self._allowed + 1 / self._allowed)
        else:
            tally.failed += 1
        self._left()

    def _expected(self) -> float:
        """Give about how long a request that comes now has to wait."""
        now = self._clock()
        held = self._held_until - now
        paced = self._next + self._gap * self._waiting - now if self._gap else 0.0
        ahead = self._active + self._waiting - self.allowed
        queued = (ahead + 1) * self._turn / self._allowed if ahead >= 0 and self._allowed else 0.0
        return max(0.0, held, paced, queued)

    def _put_off(self) -> SourceFailure:
        now = self._clock()
        held = self._held_until - now
        counts = held > 0 and now - self._alive_at > _ALIVE_SECONDS
        if held > self._patience:
            return SourceFailure(ItemError.SOURCE_THROTTLED, retry=True, after=held, counts=counts)
        pace = min(self.rate, max(1.0, self._allowed) / self._turn if self._turn else math.inf)
        after = self._putting_off.next(now, pace)
        return SourceFailure(ItemError.SOURCE_THROTTLED, retry=True, after=after, counts=False)

    async def _wait(self) -> None:
        """Wait for a turn and take it; whoever waits gives its slot to others."""
        with self._idle() if self._waiting < _ROOM else nullcontext():
            self._waiting += 1
            try:
                if self._active < self.allowed and not self._queue:
                    self._active += 1
                else:
                    await self._queued()
                try:
                    await self._paced()
                    while (wait := self._held_until - self._clock()) > 0:
                        if wait > self._patience:
                            raise self._put_off()
                        await self._sleep(wait)
                except BaseException:
                    self._left()
                    raise
            finally:
                self._waiting -= 1

    def _slow_down(self, began: float, status: int, after: float | None) -> None:
        now = self._clock()
        if began >= self._cut_at:
            # Requests that were already under way at the last cut tell nothing new.
            self._cut_at = now
            # Never more than there was: what was granted may be nothing.
            self._allowed = max(min(1.0, self._allowed), self._allowed / 2)
            self._strikes += 1
        if after is None and status == _TOO_MANY:
            after = min(_FIRST_PAUSE * 2 ** (self._strikes - 1), _LONGEST_PAUSE)
        if after is not None:
            self._held_until = max(self._held_until, now + min(after, self._longest))

    async def _paced(self) -> None:
        now = self._clock()
        turn = max(now, self._next)
        self._next = turn + self._gap
        if turn > now:
            await self._sleep(turn - now)

    async def _queued(self) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        until = loop.time() + 2 * self._patience
        self._queue.append((future, until))
        if self._timer is None:
            self._timer = loop.call_at(until, self._expire)
        try:
            in_turn = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.result():
                # The turn was handed over in the same moment; pass it on.
                self._left()
            raise
        if not in_turn:
            raise self._put_off()

    def _expire(self) -> None:
        """Have those give up who have waited too long."""
        loop = asyncio.get_running_loop()
        while self._queue and self._queue[0][1] <= loop.time():
            future, _ = self._queue.popleft()
            if not future.done():
                future.set_result(False)
        self._timer = loop.call_at(self._queue[0][1], self._expire) if self._queue else None

    def _left(self) -> None:
        self._active -= 1
        self._wake()

    def _wake(self) -> None:
        while self._queue and self._active < self.allowed:
            future, _ = self._queue.popleft()
            if not future.done():
                self._active += 1
                future.set_result(True)


def throttle_alone(source: Source) -> Throttle:
    """Make the throttle of a source for a process that shares its limits with no other."""
    return Throttle(source.max_concurrency, source.max_requests_per_second)
