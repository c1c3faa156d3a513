"""Cutting what an export asks for into parts of about equal size, from what is noted of batches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from msgspec import Struct

from sluice_storage.resources.model import Part, Range

_MOST_RANGES = 500
# Places that hold nothing cost a reader next to nothing, a range costs it a step.
_SMALL_GAP = 4096


class Row(Protocol):
    """A row of Postgres, by the names of its columns."""

    def __getitem__(self, name: str, /) -> Any:
        """Give a value."""


class _Span(Struct, frozen=True, gc=False):
    """Some or all rows of one batch; `part` is the number of the part they are for."""

    part: int
    places: Range
    rows: int
    bytes: int
    largest: int


class _Open(Struct, gc=False):
    """A part that is being put together."""

    ranges: list[Range]
    rows: int = 0
    bytes: int = 0
    largest: int = 0

    def take(self, span: _Span) -> None:
        first, last = span.places
        if self.ranges and first - self.ranges[-1][1] <= _SMALL_GAP:
            self.ranges[-1] = (self.ranges[-1][0], last)
        else:
            self.ranges.append((first, last))
        self.rows += span.rows
        self.bytes += span.bytes
        self.largest = max(self.largest, span.largest)


def cut(type_: str, blocks: Sequence[Row], part_bytes: int, *, compartment: bool) -> list[Part]:
    """Cut batches into as few parts of about equal size as keep each to about `part_bytes`.

    Parameters
    ----------
    blocks
        Rows of `fhir.batch_types`, in the order of their places.
    """
    parts: list[Part] = []
    number, held = 0, _Open([])
    for span in _spans(blocks, part_bytes):
        if held.ranges and (span.part != number or len(held.ranges) >= _MOST_RANGES):
            parts.append(_part(type_, held, compartment))
            held = _Open([])
        number = span.part
        held.take(span)
    return [*parts, _part(type_, held, compartment)] if held.ranges else parts


def _part(type_: str, held: _Open, compartment: bool) -> Part:
    return Part(type_, held.rows, held.bytes, held.largest, tuple(held.ranges), compartment=compartment)


def _spans(blocks: Sequence[Row], part_bytes: int) -> Iterator[_Span]:
    """Cut batches where parts end; the rows of one are taken to be equally long. Each has one place."""
    total = sum(block["bytes"] for block in blocks)
    rows = sum(block["resources"] for block in blocks)
    parts = max(min(math.ceil(total / part_bytes), rows), 1)
    before = 0
    for block in blocks:
        first, width, size = block["first_seq"], block["last_seq"] - block["first_seq"] + 1, block["bytes"]
        part = min(before * parts // total, parts - 1) if total else 0
        start = 0
        while start < width:
            # Where the part ends, as a share of the batch.
            end = width
            if part < parts - 1 and size:
                end = min(round(((part + 1) * total / parts - before) / size * width), width)
            if end > start:
                yield _Span(
                    part,
                    (first + start, first + end - 1),
                    min(end - start, block["resources"]),
                    size * (end - start) // width,
                    block["largest"],
                )
                start = end
            part += 1
        before += size


def gathered(type_: str, found: Iterable[Row], part_bytes: int) -> list[Part]:
    """Put patients together to as few parts of about equal size as keep each to about `part_bytes`.

    Parameters
    ----------
    found
        `patient`, `rows`, `bytes` and `largest` of each, in the order in which they are to be read.
    """
    rows = list(found)
    total = sum(row["bytes"] for row in rows)
    count = max(math.ceil(total / part_bytes), 1)
    parts: dict[int, list[Row]] = {}
    before = 0
    for row in rows:
        middle = before + row["bytes"] / 2
        parts.setdefault(min(int(middle * count / total), count - 1) if total else 0, []).append(row)
        before += row["bytes"]
    return [
        Part(
            type_,
            sum(row["rows"] for row in some),
            sum(row["bytes"] for row in some),
            max(row["largest"] for row in some),
            patients=tuple(row["patient"] for row in some),
        )
        for some in parts.values()
    ]
