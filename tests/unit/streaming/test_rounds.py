"""Rounds: taken by the clock, sooner when somebody says so, never after the end."""

from __future__ import annotations

import asyncio

from sluice_streaming.rounds import repeat


async def test_a_round_that_is_asked_for_does_not_wait_for_its_time() -> None:
    stop, wake, taken = asyncio.Event(), asyncio.Event(), asyncio.Event()
    rounds = 0

    async def take() -> None:
        nonlocal rounds
        rounds += 1
        taken.set()

    running = asyncio.create_task(repeat(stop, 3600.0, take, "taking", wake=wake))
    for expected in (1, 2, 3):
        async with asyncio.timeout(120):
            await taken.wait()
        assert rounds == expected
        taken.clear()
        wake.set()
    stop.set()
    async with asyncio.timeout(120):
        await running


async def test_the_end_does_not_wait_for_a_round_to_come() -> None:
    stop = asyncio.Event()

    async def take() -> None:
        stop.set()

    async with asyncio.timeout(120):
        await repeat(stop, 3600.0, take, "taking")
