"""What is done to single lines, where a request makes that necessary: filters, groups, elements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec
from msgspec import Struct

from sluice_exporter.elements import subset_of
from sluice_exporter.plan import JobFacts
from sluice_exporter.scope import visible_groups

Transform = Callable[[bytes], bytes | None]
"""Gives a line as it is exported, None to leave it out."""

Matches = Callable[[bytes], bool]
"""Whether a line, a resource as JSON, is found by a search."""


class Compile(Protocol):
    """Gives, for a type and some searches on it, whether a line is found by any of them.

    `now` is the time that dates are compared with; `lenient` leaves out what cannot be used.
    """

    def __call__(self, type_: str, queries: Sequence[str], now: datetime, *, lenient: bool) -> Matches:
        """Compile the searches."""


class _Id(Struct):
    id: str = ""


_id_of = msgspec.json.Decoder(_Id).decode


def matches_of(facts: JobFacts, compile_: Compile, types: Iterable[str]) -> dict[str, Matches]:
    """Give the filters of those of the types that have any.

    Those of the request (`_typeFilter`) that are of one type are joined by OR, so are those that the token's
    scopes are limited to; a resource has to satisfy both. All parts of a job take the transaction's time for
    the time it is. Only where the client was told of what is ignored may a filter of the request ignore
    anything; a limit never does.
    """
    asked: dict[str, list[str]] = {}
    for each in facts.request.type_filters:
        asked.setdefault(each.type, []).append(each.query)
    now, lenient = facts.snapshot.time, bool(facts.request.ignored)
    found: dict[str, Matches] = {}
    for type_ in types:
        both: list[Matches] = []
        if limits := facts.access.limits_of(type_):
            both.append(compile_(type_, limits, now, lenient=False))
        if queries := asked.get(type_):
            both.append(compile_(type_, queries, now, lenient=lenient))
        if both:
            found[type_] = both[0] if len(both) == 1 else _all_of(both)
    return found


def _all_of(found: Sequence[Matches]) -> Matches:
    return lambda line: all(matches(line) for matches in found)


def transform_of(type_: str, facts: JobFacts, matches: dict[str, Matches]) -> Transform | None:
    """Give what is done to lines of the type; None: they are exported as they are, and not looked at."""
    groups = visible_groups(facts.access) if type_ == "Group" else None
    found = matches.get(type_)
    subset = subset_of(type_, facts.request.elements)
    if groups is None and found is None and subset is None:
        return None

    def transform(line: bytes) -> bytes | None:
        if groups is not None and _id_of(line).id not in groups:
            return None
        if found is not None and not found(line):
            return None
        return line if subset is None else subset(line)

    return transform


def joined(lines: Sequence[bytes], transform: Transform | None) -> tuple[bytes, int]:
    """Give the lines, transformed, each with its end, and how many are left."""
    kept = (
        list(lines) if transform is None else [out for line in lines if (out := transform(line)) is not None]
    )
    return (b"\n".join(kept) + b"\n", len(kept)) if kept else (b"", 0)
