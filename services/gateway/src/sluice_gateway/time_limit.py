"""A limit to how long work may take, with one timer for all of it.

`asyncio.timeout` makes a timer for each block. A thousand polls a second would make and cancel as many, which
costs a twentieth of what a poll does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class TimeLimit:
    """Ends work of one event loop that takes too long.

    Parameters
    ----------
    seconds
        How long it may take, the same for all: so what began first is due first.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[asyncio.Task[Any], float] = {}  # by the loop's clock, the first to be due first
        self._ended: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def of(self, work: Awaitable[T]) -> T:
        """Wait for the work, in a task that is under this limit once at a time.

        Raises
        ------
        TimeoutError
            It took too long and was cancelled.
        """
        loop = self._loop
        if loop is None:  # kept, because asking for it costs a system call in Python 3.11
            loop = self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - coroutines run in tasks
        before = task.cancelling()
        due = self._due[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(due, self._look, loop)
        try:
            return await work
        except asyncio.CancelledError:
            # Whoever else cancels the task means it.
            if task in self._ended and task.uncancel() <= before:
                raise TimeoutError from None
            raise
        finally:
            self._due.pop(task, None)
            self._ended.discard(task)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for task, due in list(self._due.items()):
            if due > now:
                self._timer = loop.call_at(due, self._look, loop)
                return
            del self._due[task]
            self._ended.add(task)
            task.cancel()
