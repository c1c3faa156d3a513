"""Tests with drawn inputs go on for a time, and one round whatever the time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import fuzz_time


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(fuzz_time, "_clock", clock)
    return clock


def rounds(clock: Clock, seconds: float, takes: list[float]) -> list[list[list[int]]]:
    """Give what tests drew in each of their rounds, which take so many seconds, test by test."""
    stash = pytest.Stash()
    stash[fuzz_time._TIME] = fuzz_time.Time(clock() + seconds, len(takes))
    drawn: list[list[list[int]]] = []

    @given(st.integers())
    @settings(max_examples=9, database=None)
    def test(number: int) -> None:
        drawn[-1][-1].append(number)

    for each in takes:

        def call(each: float = each) -> None:
            drawn[-1].append([])
            test()
            clock.now += each

        drawn.append([])
        item: Any = SimpleNamespace(nodeid="it", config=SimpleNamespace(stash=stash), user_properties=[])
        fuzz_time.in_rounds(item, call, test)
        assert item.user_properties == [("fuzz rounds", len(drawn[-1]))]
    return drawn


@pytest.mark.parametrize(
    ("seconds", "takes", "counts"),
    [
        (0, [1, 1], [1, 1]),
        (30, [5, 5, 5], [2, 2, 2]),
        (30, [4, 4, 4], [2, 2, 3]),
        (30, [20, 2, 2], [1, 2, 3]),
        (30, [60, 5, 5], [1, 1, 1]),
    ],
    ids=["no time", "equal shares", "what is left", "a long one", "too long"],
)
def test_every_test_goes_one_round_and_all_together_no_round_that_there_is_no_time_for(
    clock: Clock, seconds: float, takes: list[float], counts: list[int]
) -> None:
    assert [len(drawn) for drawn in rounds(clock, seconds, takes)] == counts


def test_in_ci_each_round_draws_something_else_and_every_run_the_same(clock: Clock) -> None:
    settings.register_profile("ci", derandomize=True)
    settings.load_profile("ci")
    try:
        one, other = rounds(clock, 9, [3]), rounds(clock, 9, [3])
    finally:
        settings.load_profile("sluice")
    assert one == other
    assert len({tuple(drawn) for drawn in one[0]}) == len(one[0]) == 3
