"""Search values and what they are compared with: times, numbers with their precision, plain texts."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from msgspec import Struct


class Prefix(StrEnum):
    """How an ordered value is compared (R4, search, 3.1.1.4.5.1)."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    LT = "lt"
    GE = "ge"
    LE = "le"
    SA = "sa"
    EB = "eb"
    AP = "ap"


class Span(Struct, frozen=True):
    """A range of time: from `low` to before `high`; None is without bound."""

    low: datetime | None
    high: datetime | None


_DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(Z|[+-]\d\d:\d\d)?)?)?)?"
)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_BLANK_FOR_PLUS = re.compile(r" (?=\d\d:\d\d$)")
_PREFIXED = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb|ap)?(.*)", re.DOTALL)
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)


def prefixed(text: str) -> tuple[Prefix, str]:
    """Take a prefix off a value."""
    match = _PREFIXED.fullmatch(text)
    if match is None:
        return Prefix.EQ, text
    return Prefix(match[1] or "eq"), match[2]


def with_plus(text: str) -> str:
    """Give a time from an address with its zone's plus, which arrives as a blank if it was not encoded."""
    return _BLANK_FOR_PLUS.sub("+", text)


def span_of(text: Any) -> Span | None:
    """Give the time that a FHIR date, dateTime or instant stands for, None if it is none.

    A date without a time zone is taken for UTC.
    """
    match = _DATE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        low = datetime(
            int(year),
            int(month or 1),
            int(day or 1),
            int(hour or 0),
            int(minute or 0),
            # A leap second is the last of its minute.
            min(int(second or 0), 59),
            int(((fraction or "") + "000000")[:6]),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return Span(*_shifted(low, _end(low, month, day, hour, second, fraction), zone))


def _end(
    low: datetime,
    month: str | None,
    day: str | None,
    hour: str | None,
    second: str | None,
    fraction: str | None,
) -> datetime | None:
    try:
        if month is None:
            return low.replace(year=low.year + 1)
        if day is None:
            return low.replace(year=low.year + low.month // 12, month=low.month % 12 + 1)
        if hour is None:
            return low + timedelta(days=1)
        if second is None:
            return low + timedelta(minutes=1)
        if fraction is None:
            return low + timedelta(seconds=1)
        return low + timedelta(microseconds=max(10 ** (6 - len(fraction)), 1))
    except (ValueError, OverflowError):
        return None


def _shifted(low: datetime, high: datetime | None, zone: str | None) -> tuple[datetime, datetime | None]:
    if zone in (None, "Z"):
        return low, high
    assert zone is not None  # noqa: S101
    shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6])) * (1 if zone[0] == "-" else -1)
    try:
        return low + shift, None if high is None else high + shift
    except OverflowError:
        return low, high


def spans_of(kind: str, value: Any) -> list[Span]:
    """Give the times that an element stands for: a date, a Period's whole, each event of a Timing."""
    if kind == "Period" and isinstance(value, dict):
        start, end = span_of(value.get("start")), span_of(value.get("end"))
        low = None if start is None else start.low
        high = None if end is None else end.high
        return [Span(low, high)] if start or end else []
    if kind == "Timing" and isinstance(value, dict):
        found = [span for event in _items(value.get("event")) if (span := span_of(event))]
        repeat = value.get("repeat")
        bounds = repeat.get("boundsPeriod") if isinstance(repeat, dict) else None
        return found + spans_of("Period", bounds)
    span = span_of(value)
    return [span] if span else []


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def compares(prefix: Prefix, found: Span, wanted: Span, now: datetime) -> bool:
    """Say whether an element's time compares to a search value as its prefix says."""
    low, high = found.low or _EARLIEST, found.high or _LATEST
    first, last = wanted.low or _EARLIEST, wanted.high or _LATEST
    within = first <= low and high <= last
    if prefix is Prefix.EQ:
        return within
    if prefix is Prefix.NE:
        return not within
    if prefix is Prefix.GT:
        return high > last
    if prefix is Prefix.LT:
        return low < first
    if prefix is Prefix.GE:
        return high > last or within
    if prefix is Prefix.LE:
        return low < first or within
    if prefix is Prefix.SA:
        return low >= last
    if prefix is Prefix.EB:
        return high <= first
    # About: a tenth of the time between then and now is near enough.
    slack = abs(now - first) / 10
    return high > _back(first, slack) and low < _on(last, slack)


def _back(moment: datetime, span: timedelta) -> datetime:
    return _EARLIEST if moment - _EARLIEST < span else moment - span


def _on(moment: datetime, span: timedelta) -> datetime:
    return _LATEST if _LATEST - moment < span else moment + span


class Number(Struct, frozen=True):
    """A number of a search: it stands for all that round to it, from `low` to before `high`."""

    value: Decimal
    low: Decimal
    high: Decimal


def number_of(text: str) -> Number | None:
    """Read a number with its precision (R4, search, 3.1.1.4.6): 100 is 99.5 to 100.5, 1e2 is 95 to 105."""
    if not _NUMBER.fullmatch(text):
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None  # an exponent beyond all bounds
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > 100:
        return None
    half = Decimal(5).scaleb(exponent - 1 if exponent <= 0 else exponent - 2)
    return Number(value, value - half, value + half)


def decimal_of(value: Any) -> Decimal | None:
    """Give an element's number, None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return None


def measures(prefix: Prefix, low: Decimal | None, high: Decimal | None, wanted: Number) -> bool:
    """Say whether a number (or what lies from `low` to `high`) compares as a search value's prefix says."""
    least = Decimal("-Infinity") if low is None else low
    most = Decimal("Infinity") if high is None else high
    within = wanted.low <= least and most < wanted.high
    if prefix is Prefix.EQ:
        return within
    if prefix is Prefix.NE:
        return not within
    if prefix is Prefix.GT:
        return most > wanted.value
    if prefix is Prefix.LT:
        return least < wanted.value
    if prefix is Prefix.GE:
        return most >= wanted.value or within
    if prefix is Prefix.LE:
        return least <= wanted.value or within
    if prefix is Prefix.SA:
        return least > wanted.value
    if prefix is Prefix.EB:
        return most < wanted.value
    slack = abs(wanted.value) / 10
    return most >= wanted.value - slack and least <= wanted.value + slack


def plain(text: str) -> str:
    """Give a text as it is compared: without case, accents and runs of white space."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(each for each in apart if not unicodedata.combining(each)).split())
