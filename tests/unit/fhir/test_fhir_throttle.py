"""A source's limits hold, its word is heeded, and no turn is ever lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sluice_contracts.errors import ItemError
from sluice_fhir.throttle import Throttle
from sluice_security.failure import SourceFailure


class Time:
    """A clock that only moves when someone sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def time() -> Time:
    return Time()


def make(time: Time, concurrency: int = 4, rate: float | None = None, patience: float = 5.0) -> Throttle:
    return Throttle(concurrency, rate, patience=patience, clock=time, sleep=time.sleep)


async def test_no_more_than_allowed_are_under_way(time: Time) -> None:
    throttle = make(time, 3)
    under_way = most = 0

    async def one() -> None:
        nonlocal under_way, most
        began = await throttle.enter()
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        throttle.leave(began, 200)

    await asyncio.gather(*(one() for _ in range(50)))
    assert (most, throttle.active) == (3, 0)


async def test_the_rate_is_kept(time: Time) -> None:
    throttle = make(time, 1, rate=4.0)
    for _ in range(9):
        throttle.leave(await throttle.enter(), 200)
    assert time.now == pytest.approx(1000.0 + 8 / 4)


async def test_retry_after_holds_everyone_back(time: Time) -> None:
    throttle = make(time)
    throttle.leave(await throttle.enter(), 429, 3.0)
    throttle.leave(await throttle.enter(), 200)
    assert time.slept == [3.0]


async def test_beyond_our_patience_a_request_fails_with_the_time_that_is_left(time: Time) -> None:
    throttle = make(time)
    throttle.leave(await throttle.enter(), 503, 60.0)
    time.now += 10
    for _ in range(20):
        with pytest.raises(SourceFailure) as caught:
            await throttle.enter()
        assert (caught.value.code, caught.value.retry) == (ItemError.SOURCE_THROTTLED, True)
        assert caught.value.after == pytest.approx(50.0)
    time.now += 50
    throttle.leave(await throttle.enter(), 200)
    assert throttle.active == 0


async def test_a_source_cannot_hold_us_back_for_ever(time: Time) -> None:
    throttle = make(time)
    throttle.leave(await throttle.enter(), 429, 1e12)
    with pytest.raises(SourceFailure) as caught:
        await throttle.enter()
    assert caught.value.after == pytest.approx(3600.0)
    time.now += 3600
    assert await throttle.enter() == time.now
    assert time.slept == []


async def test_429_without_a_time_pauses_longer_each_time(time: Time) -> None:
    throttle = make(time, 1)
    for _ in range(3):
        throttle.leave(await throttle.enter(), 429)
    await throttle.enter()
    assert time.slept == [1.0, 2.0, 4.0]


async def test_concurrency_halves_once_per_round_and_grows_back(time: Time) -> None:
    throttle = make(time, 16)
    began = [await throttle.enter() for _ in range(16)]
    time.now += 1
    for each in began:
        throttle.leave(each, 503)
    assert throttle.allowed == 8
    for _ in range(200):
        throttle.leave(await throttle.enter(), 200)
    assert throttle.allowed == 16


async def test_concurrency_never_falls_below_one(time: Time) -> None:
    throttle = make(time, 4)
    for _ in range(10):
        time.now += 1
        throttle.leave(await throttle.enter(), 503)
    assert throttle.allowed == 1
    await throttle.enter()


async def test_one_who_gives_up_waiting_takes_no_turn(time: Time) -> None:
    throttle = make(time, 1)
    began = await throttle.enter()
    waiting = [asyncio.create_task(throttle.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    throttle.leave(began, 200)
    waiting[1].cancel()  # in the very moment in which it was given its turn
    throttle.leave(await waiting[2], 200)
    assert throttle.active == 0
    for task in waiting[:2]:
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_whoever_has_waited_for_too_long_is_put_off_and_no_turn_is_lost(time: Time) -> None:
    throttle = Throttle(1, patience=0.005, clock=time, sleep=time.sleep)
    began = await throttle.enter()
    for _ in range(2):
        waiting = [asyncio.create_task(throttle.enter()) for _ in range(3)]
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [each.code for each in done if isinstance(each, SourceFailure)] == [
            ItemError.SOURCE_THROTTLED
        ] * 3
    assert (throttle.active, throttle.waiting) == (1, 0)
    late = asyncio.create_task(throttle.enter())
    await asyncio.sleep(0)
    throttle.leave(began, 200)
    throttle.leave(await late, 200)
    assert throttle.active == 0


async def test_changed_limits_take_effect_and_let_waiters_in(time: Time) -> None:
    throttle = make(time, 1)
    await throttle.enter()
    waiting = asyncio.create_task(throttle.enter())
    await asyncio.sleep(0)
    throttle.configure(2, None)
    await waiting
    assert (throttle.active, throttle.allowed) == (2, 2)
    throttle.configure(1, None)
    assert throttle.allowed == 1


async def test_a_call_that_would_wait_long_for_its_turn_is_put_off_and_has_not_failed(time: Time) -> None:
    throttle = make(time, 4, rate=1.0, patience=0.5)
    entering = [asyncio.create_task(throttle.enter()) for _ in range(40)]
    done = await asyncio.gather(*entering, return_exceptions=True)
    put_off = [each for each in done if isinstance(each, SourceFailure)]
    assert 30 <= len(put_off) < 40
    assert {(each.code, each.retry, each.counts) for each in put_off} == {
        (ItemError.SOURCE_THROTTLED, True, False)
    }
    assert {each.after for each in put_off} == {1.0, 10.0}


async def test_a_source_that_holds_us_back_without_ever_answering_well_fails_what_waits(time: Time) -> None:
    throttle = make(time)

    async def refused() -> SourceFailure:
        throttle.leave(await throttle.enter(), 429, 60.0)
        with pytest.raises(SourceFailure) as caught:
            await throttle.enter()
        time.now += 61
        return caught.value

    counts = [(await refused()).counts for _ in range(15)]
    assert counts == [False] * 10 + [True] * 5
    throttle.leave(await throttle.enter(), 200)
    assert not (await refused()).counts


async def test_slots_are_given_away_only_while_a_call_waits(time: Time) -> None:
    waiting: list[int] = []

    @contextmanager
    def idle() -> Iterator[None]:
        waiting.append(1)
        yield
        waiting.append(-1)

    throttle = Throttle(1, idle=idle, clock=time, sleep=time.sleep)
    first = await throttle.enter()
    assert waiting == []
    second = asyncio.create_task(throttle.enter())
    await asyncio.sleep(0)
    assert (sum(waiting), throttle.waiting) == (1, 1)
    throttle.leave(first, 200)
    throttle.leave(await second, 200)
    assert (sum(waiting), throttle.waiting, throttle.active) == (0, 0, 0)
