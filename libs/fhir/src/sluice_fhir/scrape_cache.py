"""What is shared by many documents of a job is read once: a single-flight cache with an age and a size."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class SharedReads(Generic[V]):
    """Remembers the results of reads; whoever asks while one is under way waits for that one.

    A read that fails is not remembered: it fails everyone who waited for it, and the next one asks again.

    Parameters
    ----------
    ttl
        For how long a result is good, seconds.
    limit
        The most bytes held, as the reads state their results' sizes; the longest unused go first.
    clock
        Seconds, of any origin.
    """

    def __init__(
        self,
        *,
        ttl: float = 300.0,
        limit: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl = ttl
        self._limit = limit
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[V, int, float]] = OrderedDict()
        self._under_way: dict[Hashable, asyncio.Task[V]] = {}
        self.size = 0

    def peek(self, key: Hashable) -> V | None:
        """Give the result for `key` if it is here and fresh."""
        entry = self._kept.get(key)
        if entry is None:
            return None
        if entry[2] <= self._clock():
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return entry[0]

    async def get(self, key: Hashable, read: Callable[[], Awaitable[tuple[V, int]]]) -> V:
        """Give the result for `key`, from here or from `read`, which gives it with its size in bytes.

        Raises
        ------
        Exception
            What `read` raised.
        """
        found = self.peek(key)
        if found is not None:
            return found
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._read(key, read))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        # One caller that gives up must not take the read away from the others.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Stop the reads under way and forget everything."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._kept.clear()
        self.size = 0

    async def _read(self, key: Hashable, read: Callable[[], Awaitable[tuple[V, int]]]) -> V:
        value, size = await read()
        self._keep(key, value, size)
        return value

    def _done(self, key: Hashable, task: asyncio.Task[V]) -> None:
        self._under_way.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen, even if every caller has gone

    def _keep(self, key: Hashable, value: V, size: int) -> None:
        if size > self._limit:
            return
        self._drop(key)
        self._kept[key] = (value, size, self._clock() + self._ttl)
        self.size += size
        while self.size > self._limit:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> None:
        entry = self._kept.pop(key, None)
        if entry is not None:
            self.size -= entry[1]
