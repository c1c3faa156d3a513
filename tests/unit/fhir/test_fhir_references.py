"""References are read exactly, and nothing that is not one gets through."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_fhir.references import (
    InvalidReferenceError,
    Reference,
    is_id,
    local_mentions,
    mentioned,
    parse_reference,
)

IDS = st.from_regex(r"[A-Za-z0-9.-]{1,64}", fullmatch=True).filter(is_id)
TYPES = st.from_regex(r"[A-Z][A-Za-z]{1,30}", fullmatch=True)
BASES = st.from_regex(r"https://[a-z]{1,10}(\.[a-z]{2,5})?(/[A-Za-z0-9_~.-]{1,8}){0,3}", fullmatch=True)


@given(st.none() | BASES, TYPES, IDS, st.none() | IDS)
def test_what_is_written_is_read_back(base: str | None, kind: str, name: str, version: str | None) -> None:
    reference = Reference(base, kind, name, version)
    text = reference.path if base is None else reference.url("https://other.example")
    assert parse_reference(text) == reference
    assert parse_reference(text, kind) == reference


@pytest.mark.fuzz
@given(st.text(max_size=100))
def test_no_text_but_a_reference_is_one(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidReferenceError:
        return
    assert is_id(reference.id)
    assert reference.version is None or is_id(reference.version)
    assert text.endswith(reference.path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "DocumentReference",
        "DocumentReference/",
        "DocumentReference/.",
        "DocumentReference/..",
        "DocumentReference/../Patient/1/",
        "DocumentReference/1/",
        "DocumentReference/1/_history",
        "DocumentReference/1/_history/",
        "DocumentReference/1/_history/..",
        "DocumentReference/1?x=1",
        "DocumentReference/1#a",
        "DocumentReference/a b",
        "DocumentReference/a_b",
        "DocumentReference/%31",
        "DocumentReference/" + "a" * 65,
        "documentReference/1",
        "/DocumentReference/1",
        "DocumentReference/1\n",
        "#contained",
        "urn:uuid:4ae3d4bf-9bd3-4ae1-5d43-3b2e4f0f1d1a",
        "ftp://h.example/DocumentReference/1",
        "https://h.example/a\\b/DocumentReference/1",
        "https://h.example/a?b/DocumentReference/1",
        "https://h.example/" + "a" * 5000 + "/DocumentReference/1",
        "DocumentReference/\u0661",
    ],
)
def test_what_is_no_literal_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidReferenceError):
        parse_reference(text)


def test_another_type_is_refused() -> None:
    with pytest.raises(InvalidReferenceError):
        parse_reference("https://h.example/fhir/Patient/1", "DocumentReference")


def test_a_relative_reference_is_below_the_base_it_is_given() -> None:
    reference = parse_reference("DocumentReference/1/_history/2")
    assert reference.url("https://h.example/fhir") == "https://h.example/fhir/DocumentReference/1/_history/2"
    absolute = parse_reference("https://h.example/a/DocumentReference/1")
    assert absolute.url("https://other.example") == "https://h.example/a/DocumentReference/1"


@given(
    st.sampled_from(["", "http://h.example/r4/", "https://other.example/"]),
    st.sampled_from(["Patient", "Location", "Odd", "patient", ""]),
    st.sampled_from(
        ["/1", "/a.b-c", "/.", "/..", "/" + "x" * 65, "?name=1", "", "/1/_history/2", "/1/2", "/ä"]
    ),
)
def test_references_on_the_same_server_are_those_that_a_literal_reference_names(
    base: str, kind: str, rest: str
) -> None:
    text = f"{base}{kind}{rest}"
    wanted = set()
    with suppress(InvalidReferenceError):
        reference = parse_reference(text)
        if reference.base in (None, "http://h.example/r4") and reference.type != "Odd":
            wanted.add((reference.type, reference.id))
    resource = json.dumps({"subject": {"reference": text}}, ensure_ascii=False).encode()
    assert mentioned(local_mentions("http://h.example/r4")(resource)) == wanted


def test_mentions_are_members_and_not_what_texts_say() -> None:
    resource = {
        "reference": "Patient/1",
        "subject": {"reference": "Patient/2", "display": '"reference":"Patient/3"'},
        "contained": [{"subject": {"reference": "#x"}}],
        "nested": {"reference": {"reference": "Patient/4"}},
    }
    found = [b"Patient/1", b"Patient/2", b"Patient/4"]
    find = local_mentions()
    assert find(json.dumps(resource).encode()) == found
    assert find(json.dumps(resource, separators=(",", ":")).encode()) == found
