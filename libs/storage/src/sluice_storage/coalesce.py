"""Group commit: many callers each bring a few rows, one statement writes them all.

Handlers work on one lot of items at a time, which keeps them simple; the database is happiest with a hundred
rows per statement. A `Coalescer` stands between: while one batch is being written the next one gathers, and
no batch begins sooner than a short pace after the one before. So batches grow by themselves under load, and
a lone caller waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from sluice_telemetry.spans import within
from sluice_telemetry.subject import about

PACE = 0.02
"""Seconds. At a few hundred rows a second Postgres answers within two milliseconds: without a pace nearly
every row would be a statement of its own, and half of the work of all processes together would be that."""

Row = TypeVar("Row")
Result = TypeVar("Result")


class Coalescer(Generic[Row, Result]):
    """Joins concurrent calls, all on one event loop, into batches.

    Parameters
    ----------
    run
        Does the work for a batch and gives one result per row, in order. An exception it raises reaches
        every caller of that batch.
    limit
        The most rows in one batch; rows brought together stay together, even if they are more.
    lanes
        How many batches may be under way at once.
    pace
        Seconds from the beginning of one batch to that of the next, unless that is a full one.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Row]], Awaitable[Sequence[Result]]],
        *,
        limit: int = 256,
        lanes: int = 1,
        pace: float = PACE,
    ) -> None:
        self._run = run
        self._name = f"batch {getattr(run, '__qualname__', '')}"
        self._limit = limit
        self._free = lanes
        self._pace = pace
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next = 0.0  # when the next batch may begin, by the loop's clock
        self._start: asyncio.Handle | None = None
        self._soon = False  # whether `_start` waits for nothing
        self._waiting: deque[_Call[Row]] = deque()
        self._count = 0  # of the rows in it
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, row: Row) -> asyncio.Future[Result]:
        """Give the result of `row`, once the batch it joined is done.

        It joins at once: whoever gathers several such results needs no task for each.
        """
        return self._join(row, alone=True)

    async def all(self, rows: Sequence[Row]) -> list[Result]:
        """Give the results of `rows`, in order, once the batch they joined is done."""
        return list(await self._join(*rows)) if rows else []

    def _join(self, *rows: Row, alone: bool = False) -> asyncio.Future[Any]:
        loop = self._loop
        if loop is None:  # kept, because asking for it costs a system call in Python 3.11
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(_Call(rows, future, alone))
        self._count += len(rows)
        self._plan_start(loop)
        return future

    def _plan_start(self, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that the rows that wait become a batch, unless the end of another will."""
        pause = 0.0 if self._count >= self._limit else self._next - loop.time()
        if not self._free or (self._start is not None and (pause > 0 or self._soon)):
            return
        if self._start is not None:
            self._start.cancel()
        self._soon = pause <= 0
        # Even without a pause, one turn of the loop lets the callers that are ready now join this batch.
        if self._soon:
            self._start = loop.call_soon(self._begin, loop)
        else:
            self._start = loop.call_later(pause, self._begin, loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._start = None
        self._next = loop.time() + self._pace
        while self._waiting and self._free:
            batch = [self._waiting.popleft()]
            size = len(batch[0].rows)
            while self._waiting and size + len(self._waiting[0].rows) <= self._limit:
                batch.append(self._waiting.popleft())
                size += len(batch[-1].rows)
            self._count -= size
            self._free -= 1
            task = loop.create_task(self._flush(batch, loop))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _flush(self, batch: list[_Call[Row]], loop: asyncio.AbstractEventLoop) -> None:
        rows = batch[0].rows if len(batch) == 1 else [row for call in batch for row in call.rows]
        about(None)  # whoever began the batch, it is about all of its rows
        try:
            # The span is part of the trace of the caller that began the batch.
            with within(self._name) as span:
                span.set("sluice.rows", len(rows))
                results = list(await self._run(rows))
            if len(results) != len(rows):
                raise RuntimeError(f"{len(rows)} rows gave {len(results)} results")
            begin = 0
            for call in batch:
                end = begin + len(call.rows)
                if not call.future.done():
                    call.future.set_result(results[begin] if call.alone else results[begin:end])
                begin = end
        except BaseException as error:
            for call in batch:
                if not call.future.done():
                    call.future.set_exception(_relayed(error))
            if not isinstance(error, Exception):
                raise
        finally:
            self._free += 1
            if self._waiting:
                self._plan_start(loop)


class _Call(NamedTuple, Generic[Row]):
    """Rows that were brought together, and who waits for their results, or for the one result."""

    rows: Sequence[Row]
    future: asyncio.Future[Any]
    alone: bool


def _relayed(error: BaseException) -> BaseException:
    # A cancelled batch must not look to its callers as if they themselves were cancelled.
    return ConnectionError("the batch was abandoned") if isinstance(error, asyncio.CancelledError) else error
