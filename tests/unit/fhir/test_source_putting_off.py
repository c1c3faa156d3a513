"""A source with a low rate is never idle while calls wait for it, and none is put off too often."""

from __future__ import annotations

import heapq
from collections import Counter

import pytest

from sluice_fhir.putting_off import STEPS, PuttingOff


@pytest.mark.parametrize(("pace", "count"), [(1, 3000), (10, 3000), (0.2, 200)])
def test_a_thousand_calls_of_a_slow_source_have_their_turn_as_soon_as_it_takes_them(
    pace: float, count: int
) -> None:
    off = PuttingOff()
    waiting = [(0.0, item) for item in range(count)]
    again: Counter[int] = Counter()
    free_at, ended = 0.0, 0.0
    while waiting:
        now, item = heapq.heappop(waiting)
        if free_at <= now + 1:
            free_at = max(free_at, now) + 1 / pace
            ended = free_at
        else:
            again[item] += 1
            heapq.heappush(waiting, (now + off.next(now, pace), item))
    # Never idle for longer than the last step's rounding.
    assert ended < count / pace * 1.1 + STEPS[-1]
    assert again.total() / count < 40


def test_calls_of_a_fast_source_are_back_after_a_second() -> None:
    off = PuttingOff()
    assert {off.next(0.0, 1000.0) for _ in range(5000)} == {1.0}
