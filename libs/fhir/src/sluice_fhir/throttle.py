"""One source's share of our attention: how many requests at once, how many a second, and when none at all."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from sluice_contracts.errors import ItemError
from sluice_security.failure import SourceFailure

_TOO_MANY = 429
_OVERLOADED = 503
_SERVER_ERROR = 500
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0


class Throttle:
    """Lets requests to one source through, and learns from its answers.

    The number at once falls by half when the source says 429 or 503 and grows again by one per round of good
    answers, never beyond the registered limit. When the source names a time (`Retry-After`), nothing is sent
    until then, whichever item asks.

    Parameters
    ----------
    concurrency
        The most requests under way at once.
    rate
        The most begun in a second, None for no limit.
    patience
        How long (seconds) a request waits here while the source is held back; beyond that it fails at once
        with `SOURCE_THROTTLED` and the remaining time, so that work for other sources goes on.
    longest
        The longest (seconds) a source can hold us back at a time.
    """

    def __init__(
        self,
        concurrency: int,
        rate: float | None = None,
        *,
        patience: float = 5.0,
        longest: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._most = concurrency
        self._allowed = float(concurrency)
        self._gap = 1 / rate if rate else 0.0
        self._patience = patience
        self._longest = longest
        self._clock = clock
        self._sleep = sleep
        self._active = 0
        self._next = 0.0
        self._held_until = 0.0
        self._cut_at = float("-inf")
        self._strikes = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def active(self) -> int:
        """How many requests are under way."""
        return self._active

    @property
    def allowed(self) -> int:
        """How many may be under way at once just now."""
        return int(self._allowed)

    def configure(self, concurrency: int, rate: float | None) -> None:
        """Take over changed limits; what was learned stays as far as they allow."""
        grown = concurrency > self._most
        self._most = concurrency
        self._allowed = float(concurrency) if grown else min(self._allowed, concurrency)
        self._gap = 1 / rate if rate else 0.0
        self._wake()

    async def enter(self) -> float:
        """Wait for a turn and give the time at which it began, to be handed to `leave`.

        Raises
        ------
        SourceFailure
            `SOURCE_THROTTLED`: the source is held back for longer than our patience.
        """
        if self._active < int(self._allowed) and not self._queue:
            self._active += 1
        else:
            await self._queued()
        try:
            if self._gap:
                await self._paced()
            while (wait := self._held_until - self._clock()) > 0:
                if wait > self._patience:
                    raise SourceFailure(ItemError.SOURCE_THROTTLED, retry=True, after=wait)
                await self._sleep(wait)
        except BaseException:
            self._left()
            raise
        return self._clock()

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
        if status in (_TOO_MANY, _OVERLOADED):
            self._slow_down(began, status, after)
        elif status is not None and status < _SERVER_ERROR:
            self._strikes = 0
            if self._allowed < self._most:
                self._allowed = min(self._most, self._allowed + 1 / self._allowed)
        self._left()

    def _slow_down(self, began: float, status: int, after: float | None) -> None:
        now = self._clock()
        if began >= self._cut_at:
            # Requests that were already under way at the last cut tell nothing new.
            self._cut_at = now
            self._allowed = max(1.0, self._allowed / 2)
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
        future = asyncio.get_running_loop().create_future()
        self._queue.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                # The turn was handed over in the same moment; pass it on.
                self._left()
            raise

    def _left(self) -> None:
        self._active -= 1
        self._wake()

    def _wake(self) -> None:
        while self._queue and self._active < int(self._allowed):
            future = self._queue.popleft()
            if not future.done():
                self._active += 1
                future.set_result(None)
