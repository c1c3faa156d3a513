"""NDJSON in pieces of any size gives the lines it gives in one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_fhir.ndjson import Line, Splitter

TEXTS = st.lists(
    st.sampled_from([b"{}", b"a", b" ", b"\r", b"\n", b"\r\n", b"\xef\xbb\xbf", b"long-long-long"])
).map(b"".join)


def split(text: bytes, cuts: list[int], limit: int = 8) -> list[Line]:
    splitter = Splitter(limit)
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    lines = [line for a, b in pairwise(places) for line in splitter.feed(text[a:b])]
    return [*lines, *splitter.end()]


@pytest.mark.fuzz
@given(TEXTS, st.lists(st.integers(0, 1000)))
def test_how_a_file_is_cut_into_pieces_makes_no_difference(text: bytes, cuts: list[int]) -> None:
    expected = []
    for number, raw in enumerate(text.split(b"\n"), 1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if len(line.removesuffix(b"\r")) > 8:
            expected.append(Line(number, None))
        elif line.strip(b" \t\r"):
            expected.append(Line(number, line.strip(b" \t\r")))
    assert split(text, cuts) == expected


def test_a_byte_order_mark_does_not_count_towards_the_limit() -> None:
    assert split(b"\xef\xbb\xbf{}{}{}{}\r\n", []) == [Line(1, b"{}{}{}{}")]
    assert split(b"\xef\xbb\xbf{}{}{}{}x", []) == [Line(1, None)]


def test_a_line_over_the_limit_is_not_held() -> None:
    splitter = Splitter(limit=1000)
    for _ in range(1000):
        assert splitter.feed(b"x" * 500) == []
        assert splitter.held <= 1501
    assert splitter.feed(b"\n{}\n") == [Line(1, None), Line(2, b"{}")]
