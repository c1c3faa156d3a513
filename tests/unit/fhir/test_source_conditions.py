"""What all processes learn of a source together, and how they divide it: state in, state out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_fhir.conditions import Bounds, Condition, Grant, Seen, Share, grant, learn, split, within

NOW = 1_700_000_000.0
BOUNDS = Bounds(32)
NEW = Condition(32.0, at=NOW - 1)


def taught(condition: Condition, *seen: Seen, bounds: Bounds = BOUNDS, every: float = 1.0) -> Condition:
    """Teach a condition something each second."""
    for each in seen:
        condition = learn(condition, each, bounds, condition.at + every)
    return condition


def test_a_refusal_halves_what_is_allowed_and_limits_the_rate_to_less_than_was_refused() -> None:
    busy = taught(NEW, *[Seen(good=100)] * 20)
    after = taught(busy, Seen(good=50, refused=3))
    assert after.allowed == 16
    assert after.rate == pytest.approx(0.7 * after.pace)
    assert after.rate is not None
    assert 50 < after.rate < 100


def test_calls_that_were_under_way_at_a_cut_tell_nothing_new() -> None:
    once = taught(NEW, Seen(refused=5))
    again = learn(once, Seen(refused=5, refused_ago=0.5), BOUNDS, once.at + 0.1)
    later = learn(once, Seen(refused=5), BOUNDS, once.at + 0.1)
    assert (once.allowed, again.allowed, later.allowed) == (16, 16, 8)


def test_good_answers_bring_one_call_more_at_once_for_each_round() -> None:
    cut = replace(NEW, allowed=4.0)
    assert taught(cut, Seen(good=4)).allowed == 5
    assert taught(cut, *[Seen(good=40)] * 60).allowed == 32


def test_at_least_one_call_is_always_allowed() -> None:
    assert taught(NEW, *[Seen(refused=1)] * 50).allowed == 1


def test_a_learned_rate_grows_slowly_and_is_forgotten_when_it_holds_nobody_any_more() -> None:
    cut = taught(NEW, *[Seen(good=10)] * 10, Seen(refused=1))
    assert cut.rate is not None
    later = taught(cut, *[Seen(good=5)] * 10)
    assert later.rate is not None
    assert cut.rate < later.rate < 2 * cut.rate
    assert taught(later, *[Seen(good=5)] * 120).rate is None


def test_nothing_goes_beyond_what_is_registered_and_a_change_counts_at_once() -> None:
    bounds = Bounds(8, 2.0)
    after = taught(NEW, *[Seen(good=100)] * 200, bounds=bounds)
    assert (after.allowed, after.rate) == (8, 2.0)
    assert within(after, Bounds(3, 0.5)) == replace(after, allowed=3, rate=0.5)


def test_a_source_asks_to_be_left_alone_for_everyone() -> None:
    after = taught(NEW, Seen(refused=1, held_for=30.0), Seen(good=1))
    assert after.held_until == NOW + 30
    assert grant(after, "b", 3, {}, after.at).held_for == pytest.approx(29.0)


def test_a_source_that_becomes_slow_is_eased_off_and_gets_back_what_it_bears() -> None:
    usual = taught(NEW, *[Seen(good=50, answered=50, seconds=5.0)] * 10)
    slow = taught(usual, *[Seen(good=5, answered=5, seconds=5.0)] * 10)
    assert usual.allowed == 32
    assert slow.allowed < 20
    assert taught(slow, *[Seen(good=50, answered=50, seconds=5.0)] * 30).allowed == 32


def test_what_is_always_slow_is_usual() -> None:
    assert taught(NEW, *[Seen(good=5, answered=5, seconds=50.0)] * 30).allowed == 32


wants = st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 40), min_size=1)


@given(st.integers(0, 64), wants, st.integers(0, 100))
def test_a_division_gives_away_all_of_it_and_no_more_to_those_who_want(
    total: int, wanted: dict[str, int], turn: int
) -> None:
    parts = split(total, wanted, turn)
    assert sum(parts.values()) == (total if any(wanted.values()) else 0)
    assert all(parts[name] == 0 for name, each in wanted.items() if not each)
    if sum(wanted.values()) <= total:
        assert all(parts[name] >= each for name, each in wanted.items())


@given(st.integers(0, 64), wants, st.integers(0, 100), st.integers(1, 3))
def test_of_what_nobody_wants_parts_are_kept_and_of_what_is_wanted_none(
    total: int, wanted: dict[str, int], turn: int, kept: int
) -> None:
    parts = split(total, wanted, turn, kept=kept)
    asked, count = sum(wanted.values()), sum(1 for each in wanted.values() if each)
    assert all(parts[name] >= each for name, each in wanted.items() if asked <= total)
    if count:
        assert total - sum(parts.values()) == kept * (max(0, total - asked) // (count + kept))


def test_who_comes_next_finds_something_but_where_calls_a_second_are_limited() -> None:
    assert grant(NEW, "a", 2, {}, NOW).concurrency == 17
    assert grant(NEW, "b", 5, {"a": Share(2, 17)}, NOW).concurrency == 13
    assert grant(NEW, "c", 9, {"a": Share(2, 17), "b": Share(5, 13)}, NOW).concurrency == 2
    paced = replace(NEW, rate=10.0)
    assert grant(paced, "a", 2, {}, NOW) == Grant(32, 10.0, 0.0)


def test_where_there_is_not_one_for_each_they_take_turns() -> None:
    had = {
        name for turn in range(3) for name, part in split(1, {"a": 5, "b": 5, "c": 5}, turn).items() if part
    }
    assert had == {"a", "b", "c"}


@given(st.integers(1, 16), st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 20)), max_size=40))
def test_all_together_never_have_more_than_is_allowed(total: int, asked: list[tuple[str, int]]) -> None:
    condition = Condition(float(total), rate=10.0)
    shares: dict[str, Share] = {}
    for second, (name, wanted) in enumerate(asked):
        others = {other: share for other, share in shares.items() if other != name}
        given_: Grant = grant(condition, name, wanted, others, NOW + second)
        shares[name] = Share(wanted, given_.concurrency)
        assert sum(share.granted for share in shares.values()) <= total
        assert given_.rate is None or given_.rate <= 10.0 * given_.concurrency / total
