"""One resource whose elements have unexpected shapes is passed on, or left out, and fails no part."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_exporter.attachments import Attachments
from sluice_exporter.elements import subset_of
from sluice_exporter.mandatory import MANDATORY
from sluice_exporter.provenance import BlockProvenance, _decode, _instant, _targets
from sluice_exporter.search import compile_search
from sluice_fhir.ndjson_resource import LineError, parse
from support.odd_resources import odd

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GOOD = b'{"resourceType":"Provenance","id":"good","target":[{"reference":"Observation/o"}]}'
ODD = odd("Provenance", "target", "recorded", "agent")


def stored(line: bytes) -> bytes | None:
    """Give the line as the store would have it, None if that does not take it."""
    try:
        return parse(line).body(1, b"2026-01-01T00:00:00Z")
    except LineError:
        return None


@pytest.mark.fuzz
@given(
    st.sampled_from(sorted(MANDATORY)).flatmap(
        lambda type_: st.tuples(st.just(type_), odd(type_, *MANDATORY[type_], "subject"))
    )
)
def test_elements_are_left_out_of_whatever_the_store_takes(given_: tuple[str, bytes]) -> None:
    type_, line = given_
    subset, kept = subset_of(type_, ["subject"]), stored(line)
    assert subset is not None
    if kept is None:
        return
    before = msgspec.json.decode(kept, type=dict[str, msgspec.Raw])
    after = msgspec.json.decode(subset(kept), type=dict[str, msgspec.Raw])
    mandatory = {"resourceType", "id", "subject", *MANDATORY[type_]}
    assert {name for name in after if name in mandatory} == {name for name in before if name in mandatory}
    assert all(bytes(after[name]) == bytes(before[name]) for name in after if name != "meta")
    tags = msgspec.json.decode(after["meta"], type=dict[str, msgspec.Raw])["tag"]
    assert any(b"SUBSETTED" in bytes(tag) for tag in msgspec.json.decode(tags, type=list[msgspec.Raw]))


@pytest.mark.parametrize("tag", [b"5", b'"x"', b"{}", b"[5,[],null]", b'[{"code":5}]', b"1e999"])
def test_tags_of_another_shape_are_passed_on(tag: bytes) -> None:
    subset = subset_of("Patient", ["name"])
    assert subset is not None
    line = b'{"resourceType":"Patient","id":"a","meta":{"tag":%b},"name":7,"x":1}' % tag
    told = msgspec.json.decode(subset(line), type=dict[str, msgspec.Raw])
    tags = bytes(msgspec.json.decode(told["meta"], type=dict[str, msgspec.Raw])["tag"])
    assert tags.startswith(b"[" + tag.removeprefix(b"[").removesuffix(b"]"))
    assert subset(subset(line)) == subset(line)
    assert bytes(told["name"]) == b"7"
    assert "x" not in told


@pytest.mark.fuzz
@given(
    ODD,
    st.sampled_from(["status=x", "target=Observation/o", "recorded=ge2024", "agent:missing=true", "_id=x"]),
)
def test_a_filter_finds_a_resource_or_does_not(line: bytes, query: str) -> None:
    kept = stored(line)
    if kept is not None:
        found = compile_search("Provenance", [query.replace("status=x", "_tag=x")], NOW, lenient=True)
        assert found(kept) in (True, False)


def test_what_cannot_be_looked_into_is_found_by_nothing() -> None:
    line = b'{"resourceType":"Patient","id":"a","gender":"male","x":1e999}'
    for query in ("gender=male", "gender:not=female", "gender:missing=false"):
        matches = compile_search("Patient", [query], NOW, lenient=False)
        assert matches(line.replace(b"1e999", b"1"))
        assert not matches(line)


@pytest.mark.fuzz
@given(st.lists(ODD, max_size=4), st.booleans())
def test_provenance_of_odd_shapes_is_about_what_it_says_plainly_and_holds_up_no_other(
    lines: list[bytes], latest: bool
) -> None:
    block = BlockProvenance(latest=latest)
    block.returned("Observation", [b'{"resourceType":"Observation","id":"o"}'])
    told = block.told([*(kept for line in lines if (kept := stored(line)) is not None), GOOD])
    assert GOOD in [*told, *block.end()]


@pytest.mark.parametrize(
    ("target", "about"),
    [
        (b"5", set()),
        (b'"Observation/o"', set()),
        (b'{"reference":"Observation/o"}', {("Observation", "o")}),
        (b'[5,{"reference":7},{"reference":["Observation/p"]},{"reference":"Observation/o"}]', None),
        (b"1e999", set()),
    ],
)
def test_targets_are_read_as_far_as_they_can_be(target: bytes, about: set[tuple[str, str]] | None) -> None:
    line = b'{"resourceType":"Provenance","id":"a","recorded":{},"target":%b}' % target
    found = _decode(line)
    assert (found.id, found.recorded) == ("a", "")
    assert _targets(found) == ({("Observation", "o"), ("Observation", "p")} if about is None else about)


@pytest.mark.fuzz
@given(st.text(max_size=30) | st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]))
def test_a_time_is_one_that_can_be_ranked(text: str) -> None:
    assert _instant(text).tzinfo is UTC


@pytest.mark.fuzz
@given(odd("DocumentReference", "content", "url"))
def test_addresses_are_made_absolute_where_they_are_texts(line: bytes) -> None:
    kept = stored(line)
    if kept is not None:
        told = Attachments("https://x.test/fhir").absolute("DocumentReference", kept)
        assert told.replace(b"https://x.test/fhir/", b"") == kept
        assert len(msgspec.json.decode(told, type=dict[str, msgspec.Raw])) >= 2
