"""Parsers of submissions, deletions, event streams, sign-up and sign-in: read, or refused, and no more."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from aiohttp import hdrs
from aiohttp.test_utils import make_mocked_request
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_auth import metadata
from sluice_auth.errors import OAuthError
from sluice_auth.handlers.forms import Form, bearer, credentials
from sluice_auth.redirects import check_redirect, matches, policy_source, with_parameters
from sluice_auth.remote_keys import lifetime
from sluice_client.any_jobs import AnyJob
from sluice_client.api import decoded
from sluice_client.data_submissions import report_of, resources_of
from sluice_client.downloads import begins_at, safe_name
from sluice_client.errors import DownloadError, SluiceError
from sluice_client.pull_requests import PullManifest
from sluice_gateway.fhir.audit_queries import id_of, parse_audit_search, place_of
from sluice_gateway.fhir.outcomes import Refusal
from sluice_gateway.fhir.submission_parameters import read_status_request, read_submission
from sluice_gateway.watches import told_of
from sluice_gateway.watching import Place
from sluice_puller.contents import deletions
from sluice_streaming.memory import MemoryRecord
from support.fuzzing import bytes_near

BASE = "https://h.test/fhir"


def parameters(*given: dict[str, Any]) -> bytes:
    return json.dumps({"resourceType": "Parameters", "parameter": given}).encode()


SUBMITTER = {"name": "submitter", "valueIdentifier": {"system": "urn:s", "value": "v"}}
SUBMISSION = {"name": "submissionId", "valueString": "one"}
SUBMITTED = parameters(
    SUBMITTER,
    SUBMISSION,
    {"name": "manifestUrl", "valueUrl": "https://h.test/manifest"},
    {"name": "fhirBaseUrl", "valueUrl": BASE},
    {"name": "submissionStatus", "valueCoding": {"code": "complete"}},
)


@pytest.mark.fuzz
@given(bytes_near(SUBMITTED, parameters(SUBMITTER, SUBMISSION)))
@example(b'{"resourceType":"Parameters","parameter":' + b"[" * 100_000)
@example(parameters({"name": "submitter", "valueIdentifier": [1]}, {"name": 7}, {}))
def test_no_submission_does_more_than_be_refused(body: bytes) -> None:
    for read in (read_submission, read_status_request):
        try:
            read(body)
        except Refusal as refusal:
            assert (refusal.status, bool(refusal.issues)) == (400, True)  # noqa: PT017 - either is right


DELETED = json.dumps(
    {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {"request": {"method": "DELETE", "url": "Patient/1"}},
            {"request": {"method": "DELETE", "url": f"{BASE}/Observation/2"}},
        ],
    }
).encode()


@pytest.mark.fuzz
@given(bytes_near(DELETED))
@example(DELETED)
@example(b'{"resourceType":"Bundle","entry":' + b"[" * 100_000)
def test_no_line_of_deletions_does_more_than_name_resources_of_its_server(line: bytes) -> None:
    for type_, id_ in deletions(line, BASE) or ():
        assert type_.isalpha()
        assert id_.encode() in line


def test_deletions_at_another_server_are_none() -> None:
    assert deletions(DELETED, BASE) == [("Patient", "1"), ("Observation", "2")]
    assert deletions(DELETED.replace(b"h.test", b"o.test"), BASE) is None


EVENT = b'{"type":"ItemFailed","job":"j","at":1.5,"item":3,"stage":"fetch","code":"x"}'


def record(value: bytes | None) -> MemoryRecord:
    return MemoryRecord("jobs.events", 3, 17, b"j", value, (), 0)


@pytest.mark.fuzz
@given(bytes_near(EVENT, b'{"type":"JobFinished",\n"at":1}') | st.none())
@example(EVENT)
@example(b'{"type":"A\\nid: 9-9"}')
@example(b'{"a":' + b"[" * 100_000)
@example(b'{\r\n\r\n"type":"A"}')
def test_no_record_is_more_than_one_event_to_those_who_watch(value: bytes | None) -> None:
    told = told_of(record(value))
    if told is not None:
        assert (told.partition, told.offset) == (3, 17)
        # A line of a stream of events ends at either.
        assert not {"\n", "\r"} & {*told.type, *told.data.decode()}
        assert not value or msgspec.json.decode(told.data) == msgspec.json.decode(value)


@pytest.mark.fuzz
@given(st.text(max_size=40) | st.from_regex(r"[0-9]{0,20}-[0-9]{0,30}", fullmatch=True))
@example("9" * 5000 + "-1")
@example("\u0663-\u0664")
def test_no_last_event_id_is_a_place_unless_it_is_written_as_one(text: str) -> None:
    found = Place.read(text)
    assert found is None or (found.partition, found.offset) == tuple(int(part) for part in text.split("-"))


AUDIT = st.sampled_from(["date", "agent", "type", "subtype", "outcome", "entity", "patient", "_count", "x"])


@pytest.mark.fuzz
@given(st.lists(st.tuples(AUDIT, st.text(max_size=24)), max_size=4), st.booleans())
def test_no_search_of_the_audit_trail_does_more_than_be_refused(
    pairs: list[tuple[str, str]], lenient: bool
) -> None:
    try:
        parse_audit_search(pairs, lenient=lenient)
    except Refusal as refusal:
        assert refusal.status == 400  # noqa: PT017 - either is right


@pytest.mark.fuzz
@given(st.text(max_size=40) | st.from_regex(r"[0-9]{0,20}-[0-9]{0,20}", fullmatch=True))
def test_no_text_is_an_audit_events_id_unless_it_was_made_as_one(text: str) -> None:
    place = place_of(text)
    assert place is None or id_of(place) == text


RESOURCES = (
    b'{"resourceType":"MeasureReport","id":"r"}',
    b'{"resourceType":"Patient","id":"p"}\n{"resourceType":"Patient","id":"q"}\n',
    b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","id":"p"}},{}]}',
)


@pytest.mark.fuzz
@given(bytes_near(*RESOURCES))
@example(b'{"resourceType":"Bundle","entry":' + b"[" * 100_000)
@example(b'{"resourceType":"Bundle","entry":[{"resource":' + b"[" * 100_000)
def test_no_file_of_data_does_more_to_a_client_than_be_refused(content: bytes) -> None:
    for read in (report_of, resources_of):
        with suppress(SluiceError):
            read(content)


JOB = (
    b'{"id":"j","href":"h","kind":"bulk-import","state":"RUNNING","counts":{"items":3},'
    b'"submitted_on":"2026-01-31T12:00:00Z","stages":[]}'
)
MANIFEST = b'{"transactionTime":"2026-01-31T12:00:00Z","output":[{"url":"u","count":3}],"error":[]}'


@pytest.mark.fuzz
@given(bytes_near(JOB, MANIFEST))
@example(b'{"x":' + b"[" * 100_000)
def test_no_answer_does_more_to_a_client_than_be_refused(body: bytes) -> None:
    for kind in (AnyJob, PullManifest, dict[str, Any]):
        with suppress(SluiceError):
            decoded(body, kind)


@pytest.mark.fuzz
@given(st.text(max_size=40) | st.from_regex(r"bytes [0-9]{0,30}-[0-9]{0,30}/[0-9]{0,30}", fullmatch=True))
@example("bytes " + "1" * 5000 + "-2/3")
def test_no_content_range_breaks_a_download(text: str) -> None:
    assert begins_at(text, 7) in (True, False)


@pytest.mark.fuzz
@given(st.text(max_size=40))
@example("../x")
def test_no_name_leads_out_of_where_files_are_downloaded_to(name: str) -> None:
    try:
        found = safe_name(name)
    except DownloadError:
        return
    assert "/" not in found
    assert found not in ("", ".", "..")


names = ["client_id", "client_secret", "client_assertion", "client_assertion_type", "resource"]
fields = st.sampled_from(names)
pairs = st.lists(st.tuples(fields, st.text(max_size=12)), max_size=4)
secret = st.binary(max_size=24).map(lambda raw: "Basic " + base64.b64encode(raw).decode())
# What a header may hold: anything else is refused before any of this is asked.
spoken = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


@pytest.mark.fuzz
@given(pairs, st.lists(secret | spoken, max_size=2))
def test_no_form_and_no_header_does_more_than_say_who_a_client_claims_to_be(
    form: list[tuple[str, str]], given_headers: list[str]
) -> None:
    request = make_mocked_request(
        "POST", "/oauth/token", headers=[(hdrs.AUTHORIZATION, each) for each in given_headers]
    )
    for read in (lambda: credentials(request, Form(form, frozenset(names))), lambda: bearer(request)):
        try:
            read()
        except OAuthError as error:
            assert error.error in ("invalid_request", "invalid_client")  # noqa: PT017 - either is right


CLIENT = (
    b'{"client_name":"n","grant_types":["client_credentials"],"scope":"bulk/import",'
    b'"redirect_uris":["https://h.test/back"],"jwks":{"keys":[]}}'
)


@pytest.mark.fuzz
@given(bytes_near(CLIENT))
@example(b'{"jwks":' + b"[" * 100_000)
def test_no_registration_does_more_than_be_refused(body: bytes) -> None:
    try:
        found = metadata.parse(body)
        metadata.auth_method(found)
        metadata.name(found)
        metadata.details(found)
    except OAuthError as error:
        assert error.error.startswith("invalid_")  # noqa: PT017 - either is right


places = st.from_regex(
    r"https?://(h\.test|127\.0\.0\.1|\[::1\]|localhost)(:[0-9]{0,6})?(/[a-z.%2eE]{0,8}){0,3}(\?[a-z=&]{0,8})?",
    fullmatch=True,
)
KNOWN = ("https://h.test/back", "http://127.0.0.1/back", "http://[::1]:80/back")


@pytest.mark.fuzz
@given(st.text(max_size=60) | places)
@example("http://[::1")
@example("https://h.test/\r\nSet-Cookie: a=b")
@example("https://h.test/%2e%2E/x")
def test_no_redirect_address_does_more_than_be_refused(uri: str) -> None:
    assert matches(KNOWN, uri) in (True, False)
    try:
        check_redirect(uri)
    except ValueError as error:
        assert uri not in str(error) or len(uri) < 8  # noqa: PT017 - either is right
        return
    assert uri.isascii()
    assert uri.isprintable()
    assert with_parameters(uri, {"code": "a b&c"}).startswith(uri)
    assert ";" not in policy_source(uri)


@pytest.mark.fuzz
@given(st.text(max_size=60) | st.from_regex(r"(no-store, )?max-age=[0-9]{0,400}", fullmatch=True))
def test_no_cache_control_keeps_keys_for_ever(text: str) -> None:
    assert 0 <= lifetime(text) <= 86400 * 7
