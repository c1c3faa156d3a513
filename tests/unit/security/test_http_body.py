"""Compressed bodies come out whole or not at all, and never larger than they are worth."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_contracts.errors import ItemError
from sluice_security.failure import SourceFailure
from sluice_security.http_body import Inflater, Pace
from sluice_security.http_limits import HttpLimits

LIMITS = HttpLimits()


def raw(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(data) + made.flush()


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw,
}


def inflate(coding: str, data: bytes, step: int, limits: HttpLimits = LIMITS) -> bytes:
    inflater = Inflater(coding, limits, 200)
    out = b"".join(piece for at in range(0, len(data), step) for piece in inflater.feed(data[at : at + step]))
    inflater.finish()
    return out


@given(st.sampled_from(sorted(CODINGS)), st.binary(max_size=5000), st.integers(1, 700))
def test_what_was_compressed_comes_out_however_it_arrives(coding: str, data: bytes, step: int) -> None:
    assert inflate(coding, CODINGS[coding](data), step) == data


@pytest.mark.parametrize("size", [256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 3 * 256 * 1024])
def test_output_that_fills_pieces_exactly_is_whole(size: int) -> None:
    data = bytes(size)
    assert inflate("gzip", gzip.compress(data), 65536) == data


def test_a_body_of_several_gzip_members_is_read_to_its_end() -> None:
    assert inflate("gzip", gzip.compress(b"one ") + gzip.compress(b"two"), 5) == b"one two"


@given(st.binary(min_size=50, max_size=500), st.data())
def test_a_truncated_body_is_a_failure_that_may_pass(data: bytes, draw: st.DataObject) -> None:
    whole = gzip.compress(data)
    cut = whole[: draw.draw(st.integers(1, len(whole) - 1))]
    with pytest.raises(SourceFailure) as caught:
        inflate("gzip", cut, 64)
    assert (caught.value.code, caught.value.retry) == (ItemError.SOURCE_UNAVAILABLE, True)


def test_a_bomb_is_refused_after_little_of_it() -> None:
    bomb = gzip.compress(bytes(200 * 1024 * 1024), 9)
    inflater = Inflater("gzip", LIMITS, 200)
    pieces = (piece for at in range(0, len(bomb), 16384) for piece in inflater.feed(bomb[at : at + 16384]))
    sizes: list[int] = []
    with pytest.raises(SourceFailure) as caught:
        sizes.extend(map(len, pieces))
    assert caught.value.code is ItemError.DECOMPRESSION_REFUSED
    assert not caught.value.retry
    assert sum(sizes) < 4 * 1024 * 1024


def test_a_short_body_may_shrink_as_far_as_it_will() -> None:
    data = b" " * 900_000
    assert inflate("gzip", gzip.compress(data), 100) == data


def test_the_ratio_is_a_setting() -> None:
    data = gzip.compress(b"ab" * 2000)
    with pytest.raises(SourceFailure):
        inflate("gzip", data, 100, HttpLimits(ratio=10, ratio_floor=1000))


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress", "x"])
def test_a_coding_that_was_not_asked_for_is_refused(coding: str) -> None:
    with pytest.raises(SourceFailure) as caught:
        Inflater(coding, LIMITS, 200)
    assert caught.value.code is ItemError.SOURCE_REJECTED


@pytest.mark.fuzz
@given(st.binary(min_size=10, max_size=200))
def test_noise_is_a_failure_and_nothing_else(data: bytes) -> None:
    for coding in CODINGS:
        try:
            inflate(coding, data, 7)
        except SourceFailure as failure:
            assert failure.code is ItemError.SOURCE_UNAVAILABLE  # noqa: PT017


def test_an_empty_body_needs_no_end_mark() -> None:
    assert inflate("gzip", b"", 1) == b""


def test_the_pace_is_measured_over_whole_windows_of_waiting() -> None:
    pace = Pace(HttpLimits(rate=1000, rate_window=60))
    for _ in range(59):
        pace.took(1.0, 0, 200)
    pace.took(1.0, 60_000, 200)
    for _ in range(59):
        pace.took(1.0, 1000, 200)
    with pytest.raises(SourceFailure) as caught:
        pace.took(1.0, 999, 200)
    assert (caught.value.code, caught.value.retry) == (ItemError.SOURCE_TIMEOUT, True)
