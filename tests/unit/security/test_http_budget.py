"""Memory for bodies is bounded, whoever asks and whoever gives up."""

from __future__ import annotations

import asyncio

import pytest

from sluice_security.http_budget import MemoryBudget


async def test_small_bodies_cost_nothing() -> None:
    budget = MemoryBudget(100, free=10)
    with budget.hold() as hold:
        await hold.grow(10, 90)
        assert budget.held == 0


async def test_a_large_body_takes_the_most_it_can_become_and_keeps_what_it_became() -> None:
    budget = MemoryBudget(100, free=10)
    with budget.hold() as hold:
        await hold.grow(11, 90)
        await hold.grow(50, 90)
        assert budget.held == 90
        hold.keep(50)
        assert budget.held == 50
    assert budget.held == 0


async def test_a_body_larger_than_the_budget_takes_all_of_it() -> None:
    budget = MemoryBudget(100, free=10)
    with budget.hold() as hold:
        await hold.grow(11, 500)
        assert budget.held == 100


async def test_who_comes_first_is_served_first_and_who_gives_up_blocks_nobody() -> None:
    budget = MemoryBudget(100, free=0)
    order: list[str] = []

    async def body(name: str, size: int) -> None:
        with budget.hold() as hold:
            await hold.grow(1, size)
            order.append(name)
            await asyncio.sleep(0)

    first = budget.hold()
    await first.grow(1, 90)
    large = asyncio.create_task(body("large", 100))
    small = asyncio.create_task(body("small", 10))
    last = asyncio.create_task(body("last", 10))
    await asyncio.sleep(0)
    assert order == []
    large.cancel()
    first.keep(0)
    await asyncio.gather(small, last)
    with pytest.raises(asyncio.CancelledError):
        await large
    assert order == ["small", "last"]
    assert budget.held == 0


async def test_a_share_handed_over_to_one_who_was_just_cancelled_is_not_lost() -> None:
    budget = MemoryBudget(100, free=0)
    first = budget.hold()
    await first.grow(1, 100)
    waiter = asyncio.create_task(budget.hold().grow(1, 100))
    await asyncio.sleep(0)
    first.keep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert budget.held == 0
