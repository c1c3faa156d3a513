"""What all processes together know of a source's condition, what answers teach, and who gets how much.

Nothing here waits or keeps anything: conditions and reports in, conditions and grants out.
`sluice_fhir.condition_store` keeps them, `sluice_fhir.sharing` brings them to a process's throttles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

_PACE_SECONDS = 5.0
_LEAST_RATE = 0.1
_CUT = 0.5
_RATE_CUT = 0.7
_EASE = 0.9
_GROWTH = 0.05
_CALM_SECONDS = 60.0
_EASE_EVERY = 1.0
_SLOW = 3.0
_SLOW_SECONDS = 0.1
_FORGET_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an operator registered: calls at once, and calls a second (None: no limit)."""

    concurrency: int
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """A source as all processes see it; times are Unix seconds by one clock, the database's.

    Parameters
    ----------
    allowed
        How many calls at once it seems to bear, all processes together.
    rate
        How many a second; None: as many as come.
    pace
        Calls a second lately.
    usual
        Seconds that it usually takes to answer; None: not known yet.
    held_until
        Nothing is asked before.
    cut_at, eased_at
        When `allowed` last fell because it refused, and because it became slow.
    at
        When this was learned.
    """

    allowed: float
    rate: float | None = None
    pace: float = 0.0
    usual: float | None = None
    held_until: float = 0.0
    cut_at: float = 0.0
    eased_at: float = 0.0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What one process saw of a source since it last told.

    Parameters
    ----------
    good, refused, failed
        Answers that are none of the others; 429 and 503; other errors of the server's, and none at all.
    refused_ago
        How long ago (seconds) the call began that was the last to be refused.
    answered, seconds
        Answers whose time was taken, and their times' sum.
    held_for
        For how long (seconds) it asked to be left alone from now on.
    """

    good: int = 0
    refused: int = 0
    failed: int = 0
    refused_ago: float = 0.0
    answered: int = 0
    seconds: float = 0.0
    held_for: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.good or self.refused or self.failed)


def learn(condition: Condition, seen: Seen, bounds: Bounds, now: float) -> Condition:
    """Give the condition after what one process saw.

    Additive increase, multiplicative decrease: each round of good answers permits one call more at once, and
    a refusal halves them, once for all calls that were under way then. The rate is cut to less than what was
    refused and grows by a twentieth a second. A source that takes three times as long as usual is eased off.
    """
    elapsed = max(0.0, now - condition.at) if condition.at else 0.0
    calls = pace(condition, now) + (seen.good + seen.refused) / _PACE_SECONDS
    after = replace(condition, at=now, pace=calls, held_until=max(condition.held_until, now + seen.held_for))
    if seen.refused:
        if now - seen.refused_ago >= condition.cut_at:
            rate = max(_LEAST_RATE, min(calls, condition.rate or math.inf) * _RATE_CUT)
            after = replace(after, allowed=max(1.0, condition.allowed * _CUT), rate=rate, cut_at=now)
    elif seen.good:
        after = replace(after, allowed=condition.allowed + seen.good / max(1.0, condition.allowed))
        after = _quickened(after, bounds, elapsed)
    after = _eased(after, seen, elapsed)
    return within(after, bounds)


def pace(condition: Condition, now: float) -> float:
    """Give how many calls a second a source gets, at `now`."""
    return condition.pace * math.exp(-max(0.0, now - condition.at) / _PACE_SECONDS)


def slowed(condition: Condition, now: float) -> bool:
    """Tell whether a source got fewer calls within the last minute because it refused some or became slow."""
    return now - max(condition.cut_at, condition.eased_at) < _CALM_SECONDS


def within(condition: Condition, bounds: Bounds) -> Condition:
    """Give the condition with nothing above what is registered."""
    rate = condition.rate
    if bounds.rate is not None:
        rate = bounds.rate if rate is None else min(rate, bounds.rate)
    return replace(condition, allowed=min(condition.allowed, float(bounds.concurrency)), rate=rate)


def _quickened(condition: Condition, bounds: Bounds, elapsed: float) -> Condition:
    rate = condition.rate
    if rate is None:
        return condition
    rate += max(_LEAST_RATE, rate * _GROWTH) * min(elapsed, 1.0)
    calm = condition.at - condition.cut_at > _CALM_SECONDS
    if bounds.rate is None and calm and rate > 2 * condition.pace:
        return replace(condition, rate=None)
    return replace(condition, rate=rate)


def _eased(condition: Condition, seen: Seen, elapsed: float) -> Condition:
    if not seen.answered:
        return condition
    mean = seen.seconds / seen.answered
    # What is usual is the best of the last minutes: a source that stays slow becomes usual.
    usual = mean if condition.usual is None else min(mean, condition.usual * (1 + elapsed / _FORGET_SECONDS))
    condition = replace(condition, usual=usual)
    slow = mean > _SLOW * usual + _SLOW_SECONDS
    if not slow or condition.allowed <= 1 or condition.at - condition.eased_at < _EASE_EVERY:
        return condition
    return replace(condition, allowed=max(1.0, condition.allowed * _EASE), eased_at=condition.at)


@dataclass(frozen=True, slots=True)
class Share:
    """What a process wants of a source and has of it: calls at once."""

    wanted: int
    granted: int


@dataclass(frozen=True, slots=True)
class Grant:
    """What a process may do until it tells again: calls at once and a second, after `held_for` seconds."""

    concurrency: int
    rate: float | None
    held_for: float


def grant(condition: Condition, me: str, wanted: int, others: Mapping[str, Share], now: float) -> Grant:
    """Give a process its part: by what each wants, and never more than the others left.

    What a process loses by this it finds out when it tells next; until then nobody else gets it. So all
    together never have more than is allowed. Of what nobody wants a part is kept for who comes next, who so
    need not wait; but not where calls a second are limited, of which it would keep a part too.
    """
    total = int(condition.allowed)
    wants = {name: share.wanted for name, share in others.items()}
    wants[me] = wanted
    left = total - sum(share.granted for share in others.values())
    kept = 1 if condition.rate is None else 0
    mine = max(0, min(split(total, wants, int(now), kept=kept)[me], left))
    rate = None if condition.rate is None or not mine else condition.rate * mine / total
    return Grant(mine, rate, max(0.0, condition.held_until - now))


def split(total: int, wants: Mapping[str, int], turn: int, *, kept: int = 0) -> dict[str, int]:
    """Divide `total`: what each wants and even parts of what is over, or parts by what each wants.

    Of what is over so many further parts are `kept`. Where there is not one for each, `turn` decides who has
    one now.
    """
    names = sorted(name for name, wanted in wants.items() if wanted > 0)
    parts = dict.fromkeys(wants, 0)
    if not names:
        return parts
    asked = sum(wants[name] for name in names)
    if asked <= total:
        shared = total - asked - kept * ((total - asked) // (len(names) + kept))
        for name in names:
            parts[name] = wants[name] + shared // len(names)
        rest = shared % len(names)
    else:
        for name in names:
            parts[name] = total * wants[name] // asked
        rest = total - sum(parts.values())
    start = turn % len(names)
    for name in (names[start:] + names[:start])[:rest]:
        parts[name] += 1
    return parts
