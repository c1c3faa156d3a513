"""Parsers of header fields, queries and names: read, or refused, and no more."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import hdrs
from aiohttp.test_utils import make_mocked_request
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from sluice_auth.errors import OAuthError
from sluice_auth.handlers.authorize import _read as read_authorization
from sluice_gateway.authentication import token_of
from sluice_gateway.conditions import asked_range, has_it
from sluice_gateway.downloads import Tickets
from sluice_gateway.fhir.files import _takes_gzip as takes_gzip
from sluice_gateway.fhir.outcomes import Refusal
from sluice_gateway.fhir.routes_measures import _asynchronous as asynchronous
from sluice_gateway.fhir.routes_measures import _dates as dates
from sluice_gateway.fhir.searching import _number as place_in_search
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.idempotency import KEY_HEADER, checked_key
from sluice_gateway.incoming import parsed_query
from sluice_gateway.metadata import checked
from sluice_gateway.models.access import GrantsQuery
from sluice_gateway.models.base import QueryModel
from sluice_gateway.models.files import FilesQuery
from sluice_gateway.models.jobs import AnyJobQuery, JobItemsQuery
from sluice_gateway.names import clean_name
from sluice_gateway.problems import Problem
from sluice_security.callers import Origins
from sluice_security.sealing import Seal
from support.fuzzing import bytes_near, json_values

# What a header field may hold: anything else ends with the connection, before it is a request.
field = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40)
fields = st.lists(field, max_size=3)


def request(name: str, values: list[str]) -> Any:
    return make_mocked_request("GET", "/", headers=CIMultiDict([(name, value) for value in values]))


@pytest.mark.fuzz
@given(st.lists(field | field.map("Bearer {}".format), max_size=2), st.lists(field, max_size=2))
@example(["Bearer " + "a" * 20_000], [])
def test_no_credentials_do_more_than_be_refused(bearer: list[str], family: list[str]) -> None:
    try:
        token = token_of(bearer, family)
    except Problem as problem:
        assert problem.status in (400, 401)  # noqa: PT017 - either is right
        return
    assert token.isascii()
    assert token.isprintable()


date = st.datetimes(timezones=st.just(UTC)).map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT"))
tag = st.sampled_from(['"a"', 'W/"a"', "*", '"b", "a"', "a", ""])


@pytest.mark.fuzz
@given(
    st.sampled_from([hdrs.IF_NONE_MATCH, hdrs.IF_MODIFIED_SINCE, hdrs.IF_RANGE]), st.lists(field | date | tag)
)
@example(hdrs.IF_MODIFIED_SINCE, ["Mon, 01 Jan 0001 00:00:00 -2359"])
def test_no_condition_does_more_than_hold_or_not(name: str, values: list[str]) -> None:
    asked = request(name, values)
    assert has_it(asked, ['"a"'], datetime(2026, 1, 2, tzinfo=UTC)) in (True, False)
    assert asked_range(asked, '"a"') is None


coding = st.sampled_from(["gzip", "x-gzip", "*", "identity", "gzip;q=0", "gzip;q=1.0", "gzip;q=nan"])


@pytest.mark.fuzz
@given(st.lists(field | coding, max_size=4))
def test_no_accepted_encoding_does_more_than_be_taken_or_not(values: list[str]) -> None:
    assert takes_gzip(request(hdrs.ACCEPT_ENCODING, values)) in (True, False)


@pytest.mark.fuzz
@given(
    fields | st.lists(st.sampled_from(["respond-async", "respond-sync", "respond-async=x"])), st.booleans()
)
def test_no_preference_makes_a_measures_answer_more_than_refused(values: list[str], by_default: bool) -> None:
    with suppress(Refusal):
        assert asynchronous(values, by_default=by_default) in (True, False)


@pytest.mark.fuzz
@given(fields)
def test_no_idempotency_key_is_other_than_visible_text(values: list[str]) -> None:
    try:
        key = checked_key(CIMultiDict([(KEY_HEADER, value) for value in values]))
    except Problem as problem:
        assert problem.status == 400  # noqa: PT017 - either is right
        return
    assert key is None or (key in values and key.isascii() and key.isprintable())


@pytest.mark.fuzz
@given(fields, st.integers(0, 3))
def test_no_forwarding_makes_an_address_longer_than_one(values: list[str], proxies: int) -> None:
    assert len(Origins(proxies)(request("X-Forwarded-For", values))) < 100


names = st.sampled_from(["limit", "offset", "state", "kind", "name", "project", "metadata.a", "sort", "x"])


@pytest.mark.fuzz
@pytest.mark.parametrize("model", [FilesQuery, AnyJobQuery, JobItemsQuery, GrantsQuery])
@given(st.lists(st.tuples(names, st.text(max_size=20) | st.integers().map(str)), max_size=5))
def test_no_query_does_more_than_be_refused(model: type[QueryModel], pairs: list[tuple[str, str]]) -> None:
    asked = make_mocked_request("GET", f"/?{urlencode(pairs, errors='replace')}")
    try:
        found = parsed_query(model, asked)
    except Problem as problem:
        assert problem.status == 400  # noqa: PT017 - either is right
        return
    assert isinstance(found, model)


@pytest.mark.fuzz
@given(st.dictionaries(st.text(max_size=10), json_values, max_size=4))
def test_no_metadata_does_more_than_be_refused(metadata: dict[str, Any]) -> None:
    try:
        kept = checked(metadata)
    except ValueError:
        return
    assert len(kept) == len(metadata)
    json.dumps(kept).encode()


@pytest.mark.fuzz
@given(st.text(max_size=20))
@example("a" * 300)
@example("\ud800")
def test_no_name_that_is_asked_for_does_more_than_be_refused(name: str) -> None:
    with suppress(ValueError):
        assert "/" not in clean_name(name)


@pytest.mark.fuzz
@given(st.text(max_size=25) | st.from_regex(r"[0-9]{1,25}", fullmatch=True))
@example("\u00b2")
def test_no_place_in_a_search_is_a_number_unless_it_is_written_as_one(text: str) -> None:
    try:
        place = place_in_search(text)
    except Refusal as refusal:
        assert refusal.status == 400  # noqa: PT017 - either is right
        return
    assert 0 <= place < 2**63


TICKETS = Tickets(Seal(b"s" * 32, "download"), Hrefs("https://h.test"), now=lambda: 1.0)


@pytest.mark.fuzz
@given(st.text(max_size=60) | st.text("abcXYZ019-_=", max_size=80))
def test_no_ticket_that_was_not_given_opens_a_file(ticket: str) -> None:
    with pytest.raises(Problem) as refused:
        TICKETS.subject("f", ticket)
    assert refused.value.status == 404


DATES = (
    b'{"resourceType":"Parameters","parameter":[{"name":"periodStart","valueDate":"2026-01-01"},'
    b'{"name":"periodEnd","valueString":"2026"}]}'
)


@pytest.mark.fuzz
@given(bytes_near(DATES))
@example(b'{"resourceType":"Parameters","parameter":' + b"[" * 100_000)
def test_no_parameters_of_requirements_do_more_than_be_refused(body: bytes) -> None:
    with suppress(Refusal):
        assert all(isinstance(value, str) for value in dates(body).values())


asked_for = ["client_id", "redirect_uri", "response_type", "scope", "state", "request", "code_challenge", "x"]
pairs = st.lists(st.tuples(st.sampled_from(asked_for), st.text(max_size=10)), max_size=5)


@pytest.mark.fuzz
@given(st.text(max_size=40) | pairs.map(lambda given: urlencode(given, errors="replace")))
@example("&" * 10_000)
@example("state=%00")
@example("state=%ff")
def test_no_request_for_authorization_does_more_than_be_refused(query: str) -> None:
    try:
        asked, canonical = read_authorization(query)
    except OAuthError as error:
        assert error.error == "invalid_request"  # noqa: PT017 - either is right
        return
    assert read_authorization(canonical) == (asked, canonical)
