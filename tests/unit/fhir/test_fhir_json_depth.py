"""Nesting is counted without decoding, and exactly."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_fhir.json_depth import is_deeper

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(-5, 5) | st.text('{}[]"\\aé', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('{"]\\', max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    elif not isinstance(value, list):
        return 0
    return 1 + max(map(depth, value), default=0)


@given(VALUES)
def test_the_depth_is_that_of_the_decoded_value(value: Any) -> None:
    body = msgspec.json.encode(value)
    deep = depth(value)
    assert not is_deeper(body, deep)
    if deep:
        assert is_deeper(body, deep - 1)


@pytest.mark.parametrize("body", [b"[" * 1_000_000, b'{"a":' * 100_000, b"[" * 65 + b"]" * 65])
def test_deep_nesting_is_told(body: bytes) -> None:
    assert is_deeper(body, 64)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 70 + b'"' + b'\\"' * 2_000_000,
        b'["' * 1_000_000,
        b"[{}]" * 70 + b'"",' * 1_000_000,
        (b"[" * 60 + b"]" * 60 + b",") * 10_000,
    ],
)
def test_hostile_texts_are_looked_at_once(body: bytes) -> None:
    assert is_deeper(body, 64) in (True, False)


def test_width_is_not_depth() -> None:
    assert not is_deeper(b"[" + b"[{}]," * 100_000 + b"1]", 64)


@pytest.mark.fuzz
@given(st.binary(max_size=300))
def test_no_bytes_break_it(body: bytes) -> None:
    assert is_deeper(body, 3) in (True, False)
