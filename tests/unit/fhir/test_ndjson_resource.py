"""Lines as the store keeps them: their content as it stands, their version and time the store's."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_fhir.ndjson_resource import parse

INSTANT = b"2026-01-01T00:00:00.000Z"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["meta", "id", "resourceType", "reference", "x", 'me"ta', "é"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
METAS = st.fixed_dictionaries(
    {},
    optional={
        "versionId": st.just("9"),
        "lastUpdated": st.sampled_from(["2020-01-01T00:00:00Z", "2020-02-01T00:00:00.5+02:00", "no time", 7]),
        "profile": st.just(["http://p"]),
        "tag": VALUES,
    },
)
RESOURCES = st.fixed_dictionaries(
    {"resourceType": st.sampled_from(["Patient", "Basic", "Group", "Bundle"]), "id": st.just("i-1.A")},
    optional={
        "meta": METAS | st.none(),
        "contained": st.lists(st.fixed_dictionaries({"resourceType": st.just("Basic"), "meta": METAS})),
        **dict.fromkeys(("subject", "link", "member", "type", "name", "x", "text"), VALUES),
    },
).flatmap(lambda fields: st.permutations(list(fields.items())).map(dict))
STYLES = st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :\t")])


def decode(body: bytes) -> Any:
    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs)
        return dict(pairs)

    return json.loads(body, object_pairs_hook=distinct)


@given(RESOURCES, STYLES, st.booleans())
def test_only_version_and_time_are_the_stores(
    resource: dict[str, Any], style: tuple[str, str], ascii_: bool
) -> None:
    parsed = parse(json.dumps(resource, separators=style, ensure_ascii=ascii_).encode())
    body = parsed.body(3, INSTANT)
    assert b"\n" not in body
    rest = {
        key: value
        for key, value in (resource.get("meta") or {}).items()
        if key not in ("versionId", "lastUpdated")
    }
    meta = {"versionId": "3", "lastUpdated": INSTANT.decode(), **rest}
    assert decode(body) == {**resource, "meta": meta}
    again = parse(body)
    assert again.digest == parsed.digest
    assert again.patients == parsed.patients
    assert parse(again.body(7, INSTANT)).body(3, INSTANT) == body


@pytest.mark.parametrize(
    "line",
    [
        b'{"resourceType":"Basic","id":"a","x":1}',
        b'{"resourceType":"Basic","id":"a","x":1,"meta":{}}',
        b'{"resourceType":"Basic","id":"a","meta":{"versionId":"2"},"x":1}',
        b'{"meta":{"lastUpdated":"2020-01-01T00:00:00Z"},"resourceType":"Basic","id":"a","x":1}',
        b'{"resourceType":"Basic","meta":null,"id":"a","x":1}',
    ],
)
def test_where_an_empty_meta_stands_is_no_content(line: bytes) -> None:
    assert parse(line).digest == parse(b'{"resourceType":"Basic","id":"a","x":1}').digest


@pytest.mark.parametrize(
    "line",
    [
        b'{"resourceType":"Basic","id":"a","x":2}',
        b'{"resourceType":"Basic","id":"a","x":1,"meta":{"profile":[]}}',
        b'{"resourceType":"Basic","id":"b","x":1}',
    ],
)
def test_other_content_has_another_digest(line: bytes) -> None:
    assert parse(line).digest != parse(b'{"resourceType":"Basic","id":"a","x":1}').digest


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ('"2020-01-01T12:00:00+01:00"', datetime(2020, 1, 1, 11, tzinfo=UTC)),
        ('"2020-01-01T12:00:00"', None),
        ('"2020"', None),
        ("12", None),
        ("{}", None),
    ],
)
def test_a_time_at_the_source_is_an_instant_or_nothing(text: str, moment: datetime | None) -> None:
    line = b'{"resourceType":"Basic","id":"a","meta":{"lastUpdated":%b}}' % text.encode()
    assert parse(line).source_updated == moment


def test_a_group_of_persons_names_its_active_patients() -> None:
    group: dict[str, Any] = {
        "resourceType": "Group",
        "id": "g",
        "name": "Trial",
        "type": "person",
        "member": [
            {"entity": {"reference": "Patient/b"}},
            {"entity": {"reference": "Patient/a"}, "inactive": False},
            {"entity": {"reference": "Patient/c"}, "inactive": True},
            {"entity": {"reference": "https://h/fhir/Patient/d"}},
            {"entity": {"reference": "Practitioner/e"}},
            "odd",
            {"entity": None},
        ],
    }
    parsed = parse(json.dumps(group).encode(), base="https://h/fhir")
    assert (parsed.members, parsed.name) == (("a", "b", "d"), "Trial")
    assert parsed.patients == ("a", "b", "c", "d")
    group["type"] = "device"
    assert parse(json.dumps(group).encode()).members == ()
    assert parse(b'{"resourceType":"Basic","id":"a"}').members is None


def test_a_patient_is_in_its_own_compartment_and_in_those_it_is_linked_to() -> None:
    line = b'{"resourceType":"Patient","id":"b","link":[{"other":{"reference":"Patient/a"}}]}'
    assert parse(line).patients == ("a", "b")
    assert parse(b'{"resourceType":"Patient","id":"b"}').patients == ("b",)
    (own,) = parse(b'{"resourceType":"Patient"}').patients
    assert own == parse(b'{"resourceType":"Patient"}').id
