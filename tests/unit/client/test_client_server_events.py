"""Server-sent events are read alike however the stream is cut, and nothing in one breaks the reading."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_client.server_events import ServerEvent, server_events

STREAM = (
    b": nothing yet\n\n"
    b'event: snapshot\r\ndata: {"id":\r\ndata: "\xc3\xa4"}\r\n\r\n'
    b"id: 3-17\nevent: FileLoaded\ndata:{}\n\n"
    b"event: without data\n\n"
    b"data: x\nretry\nbreaks off"
)
EVENTS = [ServerEvent("snapshot", "", '{"id":\n"ä"}'), ServerEvent("FileLoaded", "3-17", "{}")]


async def read(pieces: Sequence[bytes]) -> list[ServerEvent]:
    async def given_() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return [event async for event in server_events(given_())]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
async def test_a_stream_says_the_same_wherever_it_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in pairwise(places)]
    assert await read(pieces) == EVENTS


@pytest.mark.fuzz
@given(st.lists(st.binary(max_size=40), max_size=20))
async def test_whatever_comes_is_read_or_left_out(pieces: list[bytes]) -> None:
    assert all(event.type for event in await read(pieces))
