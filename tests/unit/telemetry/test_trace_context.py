"""W3C Trace Context: traces go on unchanged, and what is not one is never taken for one."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_telemetry.trace import Trace, bind, continued, current, new_trace, parse, tracing

_hex = st.sampled_from("0123456789abcdef")


def test_a_new_trace_is_a_valid_header() -> None:
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", str(new_trace()))


@given(st.text(_hex, min_size=32, max_size=32), st.text(_hex, min_size=16, max_size=16), st.integers(0, 255))
def test_a_header_survives_parsing(trace_id: str, span_id: str, flags: int) -> None:
    trace = parse(f"00-{trace_id}-{span_id}-{flags:02x}")
    if trace_id.strip("0") and span_id.strip("0"):
        assert trace == Trace(trace_id, span_id, flags)
    else:
        assert trace is None


@pytest.mark.fuzz
@given(st.text() | st.binary())
def test_anything_else_is_no_trace_and_no_error(text: str | bytes) -> None:
    trace = parse(text)
    assert trace is None or len(trace.trace_id) == 32


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00-" + "a" * 32 + "-" + "b" * 16,
        "00-" + "A" * 32 + "-" + "b" * 16 + "-01",
        "00-" + "a" * 32 + "-" + "b" * 16 + "-01-more",
        "ff-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "00-" + "0" * 32 + "-" + "b" * 16 + "-01",
        "cc-" + "a" * 32 + "-" + "b" * 16 + "-01-" + "x" * 1000,
    ],
)
def test_invalid_headers_start_a_new_trace(header: str | None) -> None:
    assert parse(header) is None
    assert continued(header).trace_id != "a" * 32


def test_a_later_version_is_read_by_the_fields_it_shares() -> None:
    assert parse("cc-" + "a" * 32 + "-" + "b" * 16 + "-01-more") == Trace("a" * 32, "b" * 16, 1)


def test_a_hop_keeps_the_trace_and_the_flags_and_has_a_span_of_its_own() -> None:
    hop = continued(b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-00")
    assert (hop.trace_id, hop.flags) == ("a" * 32, 0)
    assert hop.span_id != "b" * 16


async def test_a_task_inherits_the_trace_and_does_not_leak_its_own() -> None:
    async def inner() -> Trace | None:
        inherited = current()
        bind(new_trace())
        return inherited

    outer = new_trace()
    with tracing(outer):
        assert await asyncio.create_task(inner()) == outer
        assert current() == outer
    assert current() is None
