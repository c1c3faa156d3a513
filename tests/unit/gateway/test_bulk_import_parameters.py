"""What `$import` takes, and what it becomes: an address at the source, or a list of all that is wrong."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_contracts.imports import ExportType
from sluice_gateway.fhir.outcomes import Refusal
from sluice_gateway.fhir.pull_parameters import joined_url, read_import

URL = "https://fhir.example.org/r4/$export"


def body(*pairs: tuple[str, str], form: str = "valueString") -> bytes:
    return json.dumps(
        {"resourceType": "Parameters", "parameter": [{"name": name, form: value} for name, value in pairs]}
    ).encode()


def refusal(raw: bytes) -> list[str]:
    with pytest.raises(Refusal) as caught:
        read_import(raw)
    assert caught.value.status == 400
    return [issue.code for issue in caught.value.issues]


def test_the_request_of_the_known_server_asks_for_its_three_types() -> None:
    raw = body(
        ("exportUrl", "http://example.com/$export"),
        ("_type", "Patient"),
        ("_type", "Encounter"),
        ("_type", "Procedure"),
    )
    wanted = read_import(raw)
    assert wanted.url == "http://example.com/$export?_type=Patient,Encounter,Procedure"
    assert wanted.export_type is ExportType.DYNAMIC


@pytest.mark.parametrize("form", ["valueUrl", "valueUri", "valueString"])
def test_the_address_comes_in_any_of_its_forms(form: str) -> None:
    assert read_import(body(("exportUrl", URL), form=form)).url == URL


def test_what_the_address_says_already_stays() -> None:
    raw = body(
        ("exportUrl", f"{URL}?_type=Group&x=1"),
        ("_type", "Patient"),
        ("_since", "2026-01-31T12:00:00+01:00"),
        ("_typeFilter", "Patient?gender=female&active=true"),
        ("_typeFilter", "Patient?gender=male"),
        ("_elements", "id,Patient.name"),
    )
    pairs = parse_qsl(urlsplit(read_import(raw).url).query)
    assert pairs == [
        ("_type", "Group"),
        ("x", "1"),
        ("_elements", "id,Patient.name"),
        ("_typeFilter", "Patient?gender=female&active=true"),
        ("_typeFilter", "Patient?gender=male"),
        ("_since", "2026-01-31T12:00:00+01:00"),
    ]


def test_a_static_export_is_taken_as_it_is() -> None:
    assert read_import(body(("exportUrl", URL), ("exportType", "static"))).export_type is ExportType.STATIC
    assert refusal(body(("exportUrl", URL), ("exportType", "static"), ("_type", "Patient"))) == [
        "not-supported"
    ]


@pytest.mark.parametrize(
    ("raw", "codes"),
    [
        (b"", ["structure"]),
        (b"{", ["structure"]),
        (b"[]", ["structure"]),
        (b'{"resourceType":"Bundle"}', ["structure"]),
        (b'{"resourceType":"Parameters","parameter":3}', ["structure"]),
        (b'{"resourceType":"Parameters"}', ["required"]),
        (b"\xff\xfe", ["structure"]),
        (b"[" * 5000, ["structure"]),
        (body(("exportUrl", URL), ("exportUrl", URL)), ["invalid"]),
        (body(("exportUrl", "ftp://x.example/$export")), ["value"]),
        (body(("exportUrl", "/$export")), ["value"]),
        (body(("exportUrl", "https://user:pw@x.example/$export")), ["value"]),
        (body(("exportUrl", "https://x.example/a b")), ["value"]),
        (body(("exportUrl", URL), ("exportType", "both")), ["value"]),
        (body(("exportUrl", URL), ("_type", "Patient,Teapot")), ["value"]),
        (body(("exportUrl", URL), ("_since", "yesterday")), ["value"]),
        (
            body(("exportUrl", URL), ("_since", "2026-01-01T00:00:00Z"), ("_since", "2026-01-02T00:00:00Z")),
            ["value"],
        ),
        (body(("exportUrl", URL), ("_typeFilter", "gender=female")), ["value"]),
        (body(("exportUrl", URL), ("_elements", "a.b.c")), ["value"]),
        (body(("exportUrl", URL), ("canary", "x")), ["not-supported"]),
        (body(("_type", "Teapot"), ("_since", "x")), ["required", "value", "value"]),
    ],
)
def test_everything_that_is_wrong_is_told_at_once(raw: bytes, codes: list[str]) -> None:
    assert refusal(raw) == codes


@pytest.mark.parametrize(
    "parameter",
    [
        {"name": "exportUrl"},
        {"name": "exportUrl", "valueInteger": 3},
        {"name": "exportUrl", "valueUrl": URL, "valueUri": URL},
        {"name": "exportUrl", "valueUrl": "https://x.example/\0"},
        {"valueUrl": URL},
        {"name": 3},
        "exportUrl",
        None,
    ],
)
def test_a_parameter_of_another_shape_is_refused(parameter: Any) -> None:
    raw = json.dumps({"resourceType": "Parameters", "parameter": [parameter]}).encode()
    assert set(refusal(raw)) <= {"structure", "required"}


@pytest.mark.fuzz
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["name", "parameter", "valueUrl", "x"]), inner)
        ),
    ).map(lambda value: json.dumps({"resourceType": "Parameters", "parameter": value}).encode())
)
def test_no_body_does_anything_but_be_read_or_refused(raw: bytes) -> None:
    with suppress(Refusal):
        assert read_import(raw).url


_NAMES = st.sampled_from(["_type", "_since", "_typeFilter", "_elements"])


@given(
    st.lists(st.tuples(_NAMES, st.text(min_size=1, max_size=20)), max_size=4),
    st.dictionaries(_NAMES, st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=3)),
)
def test_what_is_joined_comes_out_as_it_went_in_and_replaces_nothing(
    there: list[tuple[str, str]], more: dict[str, list[str]]
) -> None:
    try:
        for _, text in [*there, *((name, value) for name, values in more.items() for value in values)]:
            text.encode()
    except UnicodeEncodeError:
        return
    url = joined_url(URL, {}) if not there else joined_url(URL, _grouped(there))
    before = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    after = parse_qsl(urlsplit(joined_url(url, more)).query, keep_blank_values=True)
    names = {name for name, _ in before}
    added = [(name, value) for name, values in more.items() if name not in names for value in values]
    assert after == before + added


def _grouped(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found
