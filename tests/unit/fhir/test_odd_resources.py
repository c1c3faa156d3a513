"""Whatever shapes a resource's elements have, it is kept, or refused alone; and no search breaks on it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_fhir.compartments import REFERENCES
from sluice_fhir.ndjson_resource import LineError, parse
from sluice_fhir.search import SearchError, compile_filter
from sluice_fhir.search_table import Kind, parameters
from sluice_fhir.stored import decoded, element
from support.odd_resources import VALUES, odd

SHAPED = {type_: tuple(path.split(".")[0] for path in paths) for type_, paths in REFERENCES.items()}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.fuzz
@given(st.sampled_from(sorted(SHAPED)).flatmap(lambda type_: odd(type_, *SHAPED[type_], "member", "name")))
def test_an_odd_resource_is_kept_as_it_is_or_refused(line: bytes) -> None:
    try:
        resource = parse(line)
    except LineError:
        return
    body = resource.body(7, b"2026-01-01T00:00:00.000000Z")
    assert b"\n" not in body
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    before = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    own = msgspec.json.decode(fields.pop("meta"), type=dict[str, msgspec.Raw])
    before.pop("meta", None)
    assert {name: bytes(raw) for name, raw in fields.items()} == {
        name: bytes(raw) for name, raw in before.items()
    }
    assert (bytes(own["versionId"]), bytes(own["lastUpdated"])) == (b'"7"', b'"2026-01-01T00:00:00.000000Z"')
    # It is the same when it comes back as it was kept, and its time is one that Postgres gives back.
    assert parse(body).digest == resource.digest
    if resource.source_updated is not None:
        assert resource.source_updated.tzinfo is UTC


@pytest.mark.parametrize(
    "line",
    [
        rb'{"resourceType":"Patient","id":"a","\u006deta":{"tag":[]},"x":"\"meta"}',
        rb'{"resourceType":"Patient","id":"a","x":"\"meta","\u006deta":{"tag":[]}}',
        rb'{"\u006Deta":{"tag":[]},"resourceType":"Patient","id":"a","x":"\"meta"}',
        rb'{"resourceType":"Patient","id":"a","contained":[{"meta":{"tag":[]}}],"m\u0065ta":{"tag":[]}}',
    ],
)
def test_a_meta_whose_name_has_an_escape_is_not_mistaken_for_another(line: bytes) -> None:
    body = msgspec.json.decode(parse(line).body(7, b"T"))
    before = msgspec.json.decode(line)
    assert body == {**before, "meta": {"versionId": "7", "lastUpdated": "T", "tag": []}}


def test_a_group_with_something_that_cannot_be_read_has_its_members_all_the_same() -> None:
    line = (
        b'{"resourceType":"Group","id":"g","type":"person","quantity":1e999,'
        b'"member":[5,{"entity":[]},{"entity":{"reference":"Patient/p"}}]}'
    )
    assert parse(line).members == ("p",)
    assert parse(line.replace(b"[5,", b"[1e999,")).members == ()


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_its_zone_takes_beyond_all_years_is_none(time: str) -> None:
    line = b'{"resourceType":"Patient","id":"a","meta":{"lastUpdated":"%b"}}' % time.encode()
    assert parse(line).source_updated is None


@pytest.mark.parametrize("depth", [300, 600, 900, 1200, 5000])
def test_what_is_nested_too_deeply_to_be_looked_at_is_refused_alone_at_most(depth: int) -> None:
    line = b'{"resourceType":"Observation","id":"a","subject":' + b"[" * depth + b"]" * depth + b"}"
    with suppress(LineError):
        assert parse(line).patients == ()


TEXT = {
    Kind.DATE: "ge2024-01-01",
    Kind.NUMBER: "1.5",
    Kind.QUANTITY: "5||mg",
    Kind.REFERENCE: "Patient/p",
    Kind.TOKEN: "s|c",
    Kind.STRING: "a",
    Kind.URI: "urn:x",
}
MODIFIERS = ("", ":missing", ":not", ":text", ":exact", ":contains", ":identifier", ":below", ":above")


@pytest.mark.fuzz
@given(st.data())
def test_no_search_breaks_on_an_odd_resource(data: st.DataObject) -> None:
    type_ = data.draw(st.sampled_from(["Observation", "Patient", "DocumentReference", "Provenance", "Group"]))
    known = parameters(type_)
    name = data.draw(st.sampled_from(sorted(known)))
    modifier = data.draw(st.sampled_from(MODIFIERS))
    value = "true" if modifier == ":missing" else TEXT.get(known[name].kind, "s|c$ge2024")
    try:
        wanted = compile_filter(type_, f"{name}{modifier}={value}", now=lambda: NOW)
    except SearchError:
        return
    roots = sorted({each.split(".")[0].split("[")[0] for each in known[name].path.split("|")} - {""})
    line = data.draw(odd(type_, *(roots or ["x"])))
    resource = decoded(line)
    assert resource is None or wanted(resource) in (True, False)


@given(VALUES, st.sampled_from(["reference", "url"]))
def test_an_element_of_any_shape_is_a_list(value: object, name: str) -> None:
    assert isinstance(element(value, name), list)
