"""A bound on the bytes that one process holds in bodies, whatever the sources send at once."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Self


class MemoryBudget:
    """Shares a number of bytes among bodies.

    A body up to `free` bytes costs nothing, which keeps the common small one cheap. A larger one waits,
    before it grows any further, until it may take the most it can become; so no two wait for each other.

    Parameters
    ----------
    total
        Bytes that large bodies may hold together.
    free
        Bytes that a body may hold without asking.
    """

    def __init__(self, total: int, free: int = 256 * 1024) -> None:
        self.total = total
        self.free = free
        self._left = total
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def held(self) -> int:
        """Bytes taken just now."""
        return self.total - self._left

    def hold(self) -> Hold:
        """Give one body's share, to be used as a context manager for as long as the body lives."""
        return Hold(self)

    async def _take(self, size: int) -> None:
        if not self._queue and size <= self._left:
            self._left -= size
            return
        future = asyncio.get_running_loop().create_future()
        self._queue.append((size, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._give(size)
            raise

    def _give(self, size: int) -> None:
        self._left += size
        while self._queue and (self._queue[0][1].done() or self._queue[0][0] <= self._left):
            size, future = self._queue.popleft()
            if not future.done():
                self._left -= size
                future.set_result(None)


class Hold:
    """One body's share of a `MemoryBudget`."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.keep(0)

    async def grow(self, now: int, most: int) -> None:
        """Wait until the body, `now` bytes long, may grow up to `most` bytes."""
        if now > self._budget.free and not self._size:
            size = min(most, self._budget.total)
            await self._budget._take(size)  # noqa: SLF001 - the two are one
            self._size = size

    def keep(self, size: int) -> None:
        """Give back what is beyond the `size` bytes that the body turned out to have."""
        size = size if size > self._budget.free else 0
        if size < self._size:
            self._budget._give(self._size - size)  # noqa: SLF001 - the two are one
            self._size = size
