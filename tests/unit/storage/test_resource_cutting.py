"""Parts hold every row once, are of about equal size, and no larger than asked where rows are alike."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sluice_storage.resources.cutting import cut, gathered

BLOCKS = st.lists(
    st.tuples(st.integers(1, 300), st.integers(0, 200), st.integers(0, 9000)), min_size=1, max_size=12
)


def blocks_of(shapes: list[tuple[int, int, int]], *, row_bytes: int | None = None) -> list[dict[str, Any]]:
    """Give what is noted of batches of so many rows, of so much on average, with so many places before."""
    blocks: list[dict[str, Any]] = []
    seq = 1
    for rows, average, gap in shapes:
        size = average if row_bytes is None else row_bytes
        seq += gap
        block = {"first_seq": seq, "last_seq": seq + rows - 1, "resources": rows, "bytes": rows * size}
        blocks.append(block | {"largest": size})
        seq += rows
    return blocks


def places(ranges: Any) -> set[int]:
    return {place for first, last in ranges for place in range(first, last + 1)}


@given(shapes=BLOCKS, part_bytes=st.integers(1, 100_000))
def test_every_row_is_in_one_part(shapes: list[tuple[int, int, int]], part_bytes: int) -> None:
    blocks = blocks_of(shapes)
    parts = cut("Patient", blocks, part_bytes, compartment=False)
    found = [places(part.ranges) for part in parts]
    assert sum(map(len, found)) == len(set().union(*found))
    assert set().union(*found) >= places((block["first_seq"], block["last_seq"]) for block in blocks)
    ends = [place for part in parts for each in part.ranges for place in each]
    assert ends == sorted(ends)
    assert all(part.largest >= 0 and part.rows > 0 for part in parts)
    assert sum(part.rows for part in parts) == sum(block["resources"] for block in blocks)


@given(shapes=BLOCKS, row_bytes=st.integers(1, 500), part_bytes=st.integers(1, 100_000))
def test_parts_are_equal_and_bounded_wherever_batches_end(
    shapes: list[tuple[int, int, int]], row_bytes: int, part_bytes: int
) -> None:
    blocks = blocks_of(shapes, row_bytes=row_bytes)
    total = sum(block["bytes"] for block in blocks)
    parts = cut("Patient", blocks, part_bytes, compartment=False)
    rows = total // row_bytes
    assert len(parts) == min(math.ceil(total / part_bytes), rows)
    even = total / len(parts)
    assert all(abs(part.rows * row_bytes - even) <= 2 * row_bytes for part in parts)


@given(sizes=st.lists(st.integers(0, 1000), max_size=30), part_bytes=st.integers(1, 5000))
def test_every_patient_is_in_one_part_and_only_single_ones_make_it_large(
    sizes: list[int], part_bytes: int
) -> None:
    rows = [{"patient": f"p{n}", "rows": 1, "bytes": size, "largest": size} for n, size in enumerate(sizes)]
    parts = gathered("Patient", rows, part_bytes)
    assert [patient for part in parts for patient in part.patients] == [row["patient"] for row in rows]
    assert all(part.bytes <= part_bytes + part.largest for part in parts)
    assert len(parts) <= max(math.ceil(sum(sizes) / part_bytes), 1)
