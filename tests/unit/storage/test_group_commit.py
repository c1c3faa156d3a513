"""Concurrent callers share batches, and each gets its own result or its batch's error."""

import asyncio
from collections.abc import Sequence

import pytest

from sluice_storage.coalesce import Coalescer


async def test_each_caller_gets_the_result_of_its_own_row() -> None:
    async def double(rows: Sequence[int]) -> list[int]:
        await asyncio.sleep(0)
        return [row * 2 for row in rows]

    join: Coalescer[int, int] = Coalescer(double, limit=7)
    assert await asyncio.gather(*(join(n) for n in range(100))) == [n * 2 for n in range(100)]


async def test_callers_that_are_ready_together_share_batches_up_to_the_limit() -> None:
    sizes: list[int] = []

    async def note(rows: Sequence[int]) -> list[None]:
        sizes.append(len(rows))
        await asyncio.sleep(0)
        return [None] * len(rows)

    join: Coalescer[int, None] = Coalescer(note, limit=10)
    await asyncio.gather(*(join(n) for n in range(25)))
    assert sizes == [10, 10, 5]


async def test_an_error_reaches_every_caller_of_its_batch_and_no_other() -> None:
    async def picky(rows: Sequence[int]) -> list[int]:
        if 3 in rows:
            raise ValueError("three")
        return list(rows)

    join: Coalescer[int, int] = Coalescer(picky, limit=4)
    results = await asyncio.gather(*(join(n) for n in range(8)), return_exceptions=True)
    assert [isinstance(r, ValueError) for r in results] == [True] * 4 + [False] * 4
    assert await join(9) == 9


async def test_a_caller_that_gives_up_does_not_disturb_the_others() -> None:
    release = asyncio.Event()

    async def slow(rows: Sequence[int]) -> list[int]:
        await release.wait()
        return list(rows)

    join: Coalescer[int, int] = Coalescer(slow)
    impatient = join(1)
    patient = join(2)
    await asyncio.sleep(0.01)
    impatient.cancel()
    release.set()
    assert await patient == 2
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_a_batch_function_that_miscounts_is_an_error_and_not_a_hang() -> None:
    async def short(rows: Sequence[int]) -> list[int]:
        return list(rows)[1:]

    join: Coalescer[int, int] = Coalescer(short)
    with pytest.raises(RuntimeError, match="rows gave"):
        await join(1)


async def test_no_batch_begins_before_the_pace_after_the_one_before_is_over() -> None:
    sizes: list[int] = []

    async def note(rows: Sequence[int]) -> list[int]:
        sizes.append(len(rows))
        return list(rows)

    join: Coalescer[int, int] = Coalescer(note, pace=3600.0)
    await join(0)
    rest = asyncio.gather(*(join(n) for n in range(5)))
    await asyncio.sleep(0.05)
    assert sizes == [1]
    rest.cancel()


async def test_the_rows_that_waited_for_the_pace_go_together() -> None:
    sizes: list[int] = []

    async def note(rows: Sequence[int]) -> list[int]:
        sizes.append(len(rows))
        return list(rows)

    # Long enough for the five to have come, however slow the machine.
    join: Coalescer[int, int] = Coalescer(note, pace=0.2)
    await join(0)
    assert await asyncio.gather(*(join(n) for n in range(5))) == list(range(5))
    assert sizes == [1, 5]


async def test_a_full_batch_does_not_wait_for_the_pace() -> None:
    sizes: list[int] = []

    async def note(rows: Sequence[int]) -> list[int]:
        sizes.append(len(rows))
        return list(rows)

    join: Coalescer[int, int] = Coalescer(note, limit=3, pace=3600.0)
    async with asyncio.timeout(120):
        await join(0)
        await asyncio.gather(*(join(n) for n in range(3)))
        assert await asyncio.gather(*(join(n) for n in range(6))) == list(range(6))
    assert sizes == [1, 3, 3, 3]


async def test_rows_that_come_while_a_batch_is_written_follow_it() -> None:
    release = asyncio.Event()

    async def slow(rows: Sequence[int]) -> list[int]:
        await release.wait()
        return list(rows)

    join: Coalescer[int, int] = Coalescer(slow, pace=0.0)
    first = join(1)
    await asyncio.sleep(0.01)
    second = join(2)
    await asyncio.sleep(0.01)
    release.set()
    assert [await first, await second] == [1, 2]
