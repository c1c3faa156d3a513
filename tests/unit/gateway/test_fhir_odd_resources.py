"""Reading and searching go on past a resource whose elements have unexpected shapes."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_fhir.ndjson_resource import LineError, parse
from sluice_fhir.search import compile_filter
from sluice_gateway.fhir.access import View
from sluice_gateway.fhir.queries import parse_search
from sluice_gateway.fhir.reading import Reading, _satisfied
from sluice_gateway.fhir.routes_read import _content
from sluice_gateway.fhir.searching import _passes
from sluice_gateway.problems import Problem
from sluice_storage.resources.model import Stored
from support.odd_resources import VALUES, odd

AT = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY = cast("Any", None)
READING = Reading(NOBODY, NOBODY, NOBODY, "https://api.test/fhir")


def stored(line: bytes) -> Stored:
    return Stored("X", "x", 1, AT, deleted=False, body=line, patients=frozenset())


@pytest.mark.fuzz
@given(odd("Observation", "subject", "code", "value", "effectiveDateTime"), st.booleans())
def test_a_search_passes_over_what_it_cannot_look_into(line: bytes, limited: bool) -> None:
    limit = compile_filter("Observation", "category=laboratory")
    view = View(all_patients=True, groups=(), filters=(limit,) if limited else ())
    query = parse_search("Observation", [("date", "ge2020"), ("code:not", "x")], lenient=False)
    try:
        kept = parse(line).body(1, b"T")
    except LineError:
        return
    assert _passes(stored(kept), view, query) in (True, False)
    assert _satisfied(view, kept) in (True, not limited)


def test_what_cannot_be_looked_into_is_within_no_limit_and_found_by_no_search() -> None:
    line = b'{"resourceType":"Observation","id":"x","status":"final","x":1e999}'
    limit = compile_filter("Observation", "status=final")
    everything = parse_search("Observation", [], lenient=False)
    final = parse_search("Observation", [("status", "final")], lenient=False)
    for body, there in ((line, False), (line.replace(b"1e999", b"1"), True)):
        for filters, query in (((limit,), everything), ((), final)):
            view = View(all_patients=True, groups=(), filters=filters)
            assert _passes(stored(body), view, query) is there
    # Without a search nothing has to be looked into.
    assert _passes(stored(line), View(all_patients=True, groups=(), filters=()), everything)


@pytest.mark.fuzz
@given(odd("DocumentReference", "content", "attachment"))
def test_an_odd_document_has_an_attachment_or_has_none(line: bytes) -> None:
    assert READING._has_attachment(line, "b") in (True, False)


@pytest.mark.parametrize(
    ("content", "there"),
    [
        (b'[5,{"attachment":{"url":7}},{"attachment":[]},{"attachment":{"url":"Binary/b"}}]', True),
        (b'{"attachment":{"url":"https://api.test/fhir/Binary/b"}}', True),
        (b'{"attachment":{"url":["Binary/b"]}}', False),
        (b'"Binary/b"', False),
        (b"1e999", False),
    ],
)
def test_an_attachment_is_found_beside_odd_ones(content: bytes, there: bool) -> None:
    line = b'{"resourceType":"DocumentReference","id":"d","content":%b}' % content
    assert READING._has_attachment(line, "b") is there


@pytest.mark.fuzz
@given(VALUES, VALUES)
async def test_an_odd_binary_is_given_as_bytes_or_refused_plainly(data: Any, kind: Any) -> None:
    body = msgspec.json.encode({"resourceType": "Binary", "id": "b", "data": data, "contentType": kind})
    try:
        answer = await _content(body, {})
    except Problem as problem:
        assert problem.status == 406  # noqa: PT017 - either of the two
    else:
        assert answer.status == 200


async def test_a_binary_whose_type_is_odd_is_just_bytes() -> None:
    body = msgspec.json.encode({"resourceType": "Binary", "data": b64encode(b"x").decode(), "contentType": 5})
    answer = await _content(body, {})
    assert (answer.body, answer.content_type) == (b"x", "application/octet-stream")
