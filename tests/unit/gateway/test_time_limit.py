"""Work that takes too long is ended, and nothing else is."""

from __future__ import annotations

import asyncio

import pytest

from sluice_gateway.time_limit import TimeLimit


async def forever() -> None:
    await asyncio.Event().wait()


async def after(turns: int) -> int:
    for _ in range(turns):
        await asyncio.sleep(0)
    return turns


async def test_what_takes_too_long_is_ended_and_its_task_goes_on() -> None:
    limit = TimeLimit(0.01)

    async def twice() -> int:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await limit.of(forever())
        return await limit.of(after(3))

    assert await asyncio.gather(*(twice() for _ in range(50))) == [3] * 50
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_what_is_ready_in_time_is_given_and_what_it_raises_is_raised() -> None:
    async def wrong() -> None:
        await asyncio.sleep(0)
        raise LookupError

    limit = TimeLimit(3600)
    assert await asyncio.gather(*(limit.of(after(turns)) for turns in range(5))) == [0, 1, 2, 3, 4]
    with pytest.raises(LookupError):
        await limit.of(wrong())


async def test_a_task_that_somebody_else_cancels_is_cancelled() -> None:
    limit = TimeLimit(3600)
    task = asyncio.create_task(limit.of(forever()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_by_others_too_it_is_cancelled() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            task.cancel()
            raise

    task = asyncio.create_task(TimeLimit(0.01).of(stubborn()))
    with pytest.raises(asyncio.CancelledError):
        await task
