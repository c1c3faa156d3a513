"""Which tier a message waits in, and what its headers remember."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_contracts.topics import RETRY_TIERS, RetryTier
from sluice_streaming.memory import MemoryRecord
from sluice_streaming.messages import Headers
from sluice_streaming.retries import DUE, History, choose_tier, due, foreign

_tiers = st.lists(st.floats(0.1, 1e5), min_size=1, max_size=6, unique=True).map(
    lambda delays: tuple(RetryTier(str(d), timedelta(seconds=d)) for d in sorted(delays))
)


@given(_tiers, st.integers(1, 20), st.none() | st.floats(0, 1e6))
def test_a_tier_is_as_long_as_asked_or_the_longest(
    tiers: tuple[RetryTier, ...], attempt: int, after: float | None
) -> None:
    chosen = choose_tier(tiers, attempt, after)
    assert chosen in tiers
    assert after is None or chosen.delay.total_seconds() >= after or chosen == tiers[-1]


@given(_tiers, st.integers(1, 20), st.none() | st.floats(0, 1e6))
def test_a_tier_is_no_longer_than_attempt_and_request_need(
    tiers: tuple[RetryTier, ...], attempt: int, after: float | None
) -> None:
    chosen = tiers.index(choose_tier(tiers, attempt, after))
    by_attempt = min(attempt, len(tiers)) - 1
    assert chosen >= by_attempt
    if chosen > by_attempt:
        assert after is not None
        assert tiers[chosen - 1].delay.total_seconds() < after


def test_each_attempt_waits_one_tier_longer_and_the_last_tier_repeats() -> None:
    names = [choose_tier(RETRY_TIERS, attempt, None).name for attempt in range(1, 7)]
    assert names == ["1s", "10s", "1m", "10m", "10m", "10m"]


def record(headers: Headers = (), timestamp: int = 1_000_000) -> MemoryRecord:
    return MemoryRecord("topic", 2, 7, b"k", b"v", headers, timestamp)


_histories = st.builds(
    History,
    attempt=st.integers(2, 100),
    origin_topic=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    origin_partition=st.integers(0, 1000),
    origin_offset=st.integers(0, 2**50),
    first_failed=st.none() | st.integers(0, 2**33).map(float),
    due=st.none() | st.integers(0, 2**33).map(float),
)


@given(_histories)
def test_a_history_survives_its_headers(history: History) -> None:
    assert History.of(record(history.headers("code"))) == history


def test_a_record_without_history_is_its_own_origin() -> None:
    assert History.of(record()) == History(1, "topic", 2, 7)


@pytest.mark.fuzz
@given(st.lists(st.tuples(st.sampled_from(["sluice-attempt", "sluice-due", "own"]), st.binary()), max_size=6))
def test_headers_that_lie_never_break_a_delivery(headers: list[tuple[str, bytes]]) -> None:
    bad = record(tuple(headers))
    assert History.of(bad).attempt >= 1
    assert due(bad, 10.0) <= 1010.0
    assert all(key == "own" for key, _ in foreign(headers))


def test_a_record_is_due_when_it_says_but_never_after_its_tiers_delay() -> None:
    assert due(record(((DUE, b"1004.5"),)), 10.0) == 1004.5
    assert due(record(((DUE, b"999999999"),)), 10.0) == 1010.0
    assert due(record(((DUE, b"nan"),)), 10.0) == 1010.0
    assert due(record(), 10.0) == 1010.0
