"""What becomes a metadata value, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_fhir.scrape_schema import Value
from sluice_fhir.scrape_values import MAX_LIST, MAX_VALUE_BYTES, age, coercion, text


def _made(found: list[Any], **rules: Any) -> tuple[Any, ...]:
    return coercion(Value(key="k", path="id", **rules))(found)


@pytest.mark.parametrize(
    ("kind", "found", "made"),
    [
        ("string", ["a", "b"], ("a",)),
        ("string", [{"a": 1}, ["x"], None, "b"], ("b",)),
        ("string", ["", " \t\n", "b"], ("b",)),
        ("string", [5], ("5",)),
        ("string", [1.5], ("1.5",)),
        ("string", [True], ("true",)),
        ("string", [float("inf"), 10**30], ()),
        ("string", ["a\x00b\nc"], ("a b c",)),
        ("string", ["e\u0301"], ("\u00e9",)),
        ("number", ["1.5", 2], (1.5,)),
        ("number", [True, "x", "1e5", "٣", 10**30, float("nan"), 3], (3,)),
        ("integer", [1.5, 2.0], (2,)),
        ("boolean", ["yes", 1, "false"], (False,)),
        ("date", ["2020-02-30", "2020-05-17T10:00:00Z"], ("2020-05-17",)),
        ("date", ["2020"], ("2020",)),
        ("datetime", ["2020-05-17T10:00:00.123+02:00"], ("2020-05-17T10:00:00.123+02:00",)),
        ("datetime", ["2020-05-17T25:00:00Z", "17.05.2020", 2020, "0000-01-01"], ()),
        ("id", ["Patient/1/_history/2"], ("1",)),
        ("id", ["https://x.org/fhir/Patient/a-b"], ("a-b",)),
        ("id", ["urn:uuid:1", 5, "abc"], ("abc",)),
        ("array", ["b", "a", "b", {"x": 1}, 5], ("b", "a", "5")),
    ],
)
def test_values_are_of_their_type_or_are_not(kind: str, found: list[Any], made: tuple[Any, ...]) -> None:
    got = _made(found, type=kind)
    assert got == made
    assert [type(one) for one in got] == [type(one) for one in made]


def test_a_map_turns_codes_into_what_is_stored_and_keeps_or_replaces_the_others() -> None:
    table = {"male": "Male", "true": 1}
    assert _made(["male"], map=table) == ("Male",)
    assert _made([True], map=table) == (1,)
    assert _made(["other"], map=table) == ("other",)
    assert _made(["other"], map=table, map_default="Unknown") == ("Unknown",)
    assert _made([{}], map=table, map_default="Unknown") == ()


def test_a_huge_list_is_cut_and_looked_at_no_further() -> None:
    assert len(_made([f"v{number}" for number in range(10**6)], type="array")) == MAX_LIST
    assert _made([{}] * 10**6 + ["late"]) == ()


@given(st.text(max_size=400))
def test_a_text_is_cut_at_a_whole_character_within_its_limit(value: str) -> None:
    made = text(value)
    if made is not None:
        encoded = made.encode()
        assert 0 < len(encoded) <= MAX_VALUE_BYTES
        assert encoded.decode() == made == made.strip()
        assert text(made) == made


def test_a_long_text_keeps_as_much_as_fits() -> None:
    assert text("é" * 200) == "é" * 150
    assert text("x" + "é" * 200) == "x" + "é" * 149
    assert text("x" * 300) == "x" * 300


@pytest.mark.parametrize(
    ("born", "at", "unit", "years"),
    [
        ("2000-02-29", "2020-02-28", "years", 19),
        ("2000-02-29", "2020-02-29", "years", 20),
        ("2020-01-31", "2020-02-29", "months", 0),
        ("2020-01-01", "2020-03-01", "days", 60),
        ("2020", "2021-01-01", "years", None),
        ("2021-01-01", "2020-01-01", "years", None),
    ],
)
def test_an_age_is_of_whole_units_between_whole_dates(
    born: str, at: str, unit: str, years: int | None
) -> None:
    assert age(born, at, unit) == years
