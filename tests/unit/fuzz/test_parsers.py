"""Every parser of what comes from outside: no input does more than be read or be refused by its own error."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import hdrs
from aiohttp.test_utils import make_mocked_request
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_auth import assertion
from sluice_client.errors import SluiceError
from sluice_client.importing import parse as parse_imports
from sluice_client.manifests import read_manifest as read_own_manifest
from sluice_contracts import wire
from sluice_contracts.ids import is_job_id, item_of_key
from sluice_contracts.topics import TOPICS
from sluice_fhir.export_manifest import Manifest, read_manifest
from sluice_fhir.fhirpath import compile_path
from sluice_fhir.fhirpath_parse import FHIRPathError
from sluice_fhir.ndjson_resource import LineError, parse
from sluice_fhir.scrape_compile import compile_schema
from sluice_fhir.scrape_schema import SchemaError, load_validator, read_schema
from sluice_fhir.search import SearchError, parse_type_filter
from sluice_fhir.searchset import finds_by_id, matches
from sluice_gateway.conditions import span
from sluice_gateway.fhir.outcomes import Refusal
from sluice_gateway.fhir.preferences import check_accept, lenient, listed, weight
from sluice_gateway.fhir.queries import parse_search
from sluice_security import jose
from sluice_security.failure import SourceFailure
from support.fuzzing import bytes_near, json_values

SCHEMAS = Path(__file__).parents[3] / "schemas" / "scrape"
VALIDATOR = load_validator(SCHEMAS)
SHIPPED = [path.read_bytes() for path in sorted(SCHEMAS.glob("*.json")) if b'"values"' in path.read_bytes()]
JOB = "0191d2a0-0000-8000-8000-000000000001"
NOW = datetime(2026, 1, 2, tzinfo=UTC)

EVENT = (
    b'{"type":"ItemFailed","job":"0191d2a0-0000-8000-8000-000000000001","at":1.5,"item":3,'
    b'"stage":"fetch","code":"x"}'
)


SEARCHSET = (
    b'{"resourceType":"Bundle","type":"searchset","entry":[{"search":{"mode":"match"},"resource":'
    b'{"resourceType":"DocumentReference","id":"a","meta":{"versionId":"1"}}}]}'
)
STATEMENT = (
    b'{"resourceType":"CapabilityStatement","rest":[{"mode":"server","searchParam":[{"name":"_id"}],'
    b'"resource":[{"type":"DocumentReference","interaction":[{"code":"search-type"}]}]}]}'
)


@pytest.mark.fuzz
@given(value=bytes_near(SEARCHSET, STATEMENT))
@example(value=SEARCHSET)
@example(value=STATEMENT)
@example(value=b'{"type":"searchset","entry":[' + b'{"resource":' * 100_000)
def test_no_answer_to_a_search_does_more_than_hold_nothing(value: bytes) -> None:
    found = matches(value, "DocumentReference", ["a"])
    assert all(name == "a" and text in value for name, (text, _) in found.items())
    assert finds_by_id(value, "DocumentReference") in (True, False)


@pytest.mark.fuzz
@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
@given(value=bytes_near(EVENT, b'{"type":"FetchDocument","job":"j","item":0}'))
@example(value=b"[" * 100_000)
@example(value=b'{"type":"JobPlanned","at":1e999}')
def test_no_record_does_more_than_be_refused(topic: Any, value: bytes) -> None:
    decoder: wire.Decoder[Any] = wire.Decoder(topic.messages)
    (found,) = decoder.decode_each([value])
    if isinstance(found, wire.MalformedMessageError):
        with pytest.raises(wire.MalformedMessageError):
            decoder.decode(value)
    else:
        assert decoder.decode(wire.encode(found)) == found


@pytest.mark.fuzz
@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode(errors="replace")))
@example("\u00b2".encode())
def test_no_key_is_an_items_unless_it_was_made_so(key: bytes) -> None:
    for each in (key, JOB.encode() + b"/" + key):
        found = item_of_key(each)
        assert found is None or (is_job_id(found[0]) and 0 <= found[1] < 10**9)


PATIENT = b'{"resourceType":"Patient","id":"p","meta":{"versionId":"1","lastUpdated":"2026-01-01T00:00:00Z"}}'
OBSERVATION = b'{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/p"},"status":"final"}'
GROUP = b'{"resourceType":"Group","id":"g","type":"person","member":[{"entity":{"reference":"Patient/p"}}]}'


@pytest.mark.fuzz
@given(bytes_near(PATIENT, OBSERVATION, GROUP))
@example(b'{"resourceType":"Patient","id":"p","meta":' + b"[" * 5000)
def test_no_line_does_more_than_be_refused(line: bytes) -> None:
    try:
        found = parse(line)
    except LineError as error:
        assert str(error) == error.problem.value  # noqa: PT017 - either is right
        return
    body = msgspec.json.decode(found.body(1, b"2026-01-02T00:00:00Z"))
    assert (body["resourceType"], body["id"]) == (found.type, found.id)


MANIFEST = (
    b'{"transactionTime":"2026-01-01T00:00:00Z","request":"https://h.test/$export",'
    b'"requiresAccessToken":true,"output":[{"type":"Patient","url":"https://h.test/1"}],"error":[]}'
)


@pytest.mark.fuzz
@given(bytes_near(MANIFEST))
def test_no_manifest_does_more_than_be_refused(body: bytes) -> None:
    try:
        found = read_manifest(body, "https://h.test/status")
    except SourceFailure:
        return
    assert isinstance(found, Manifest)


@pytest.mark.fuzz
@given(bytes_near(MANIFEST))
def test_no_manifest_does_more_to_a_client_than_be_refused(body: bytes) -> None:
    try:
        read_own_manifest(body)
    except SluiceError:
        return


IMPORT_FILES = (
    b"fhir_document_reference,name,project,study\nhttps://h.test/DocumentReference/1,a,o/p,1\n",
    b'{"items":[{"fhir_document_reference":"https://h.test/DocumentReference/1","project":"o/p"}]}',
    b'"https://h.test/DocumentReference/1"\n{"fhir_document_reference":"https://h.test/DocumentReference/2"}\n',
    b"# all\nhttps://h.test/DocumentReference/1\n",
)


@pytest.mark.fuzz
@given(bytes_near(*IMPORT_FILES))
@example(b'reference,"' + b"x" * 200_000)
@example(b'{"items":' + b"[" * 100_000)
@example(b'{"items":\n' + b"[" * 100_000)
@example(b"[" * 100_000)
@example(b'{"a":1}\n{"items":' + b"[" * 100_000)
@example(b"reference\n\0")
def test_no_list_of_what_to_import_does_more_than_be_refused(data: bytes) -> None:
    try:
        found = parse_imports(data, project="o/p")
    except SluiceError:
        return
    assert found.items


names = st.sampled_from(
    ["_id", "name", "birthdate", "_lastUpdated", "subject", "value-quantity", "code", "status:not", "x"]
) | st.text(max_size=12)
values = st.text(max_size=24) | st.from_regex(r"(eq|ge|lt|ap)?[0-9]{1,4}(-[0-9]{2}){0,2}(T[0-9:]{2,8}Z)?")


@pytest.mark.fuzz
@given(st.sampled_from(["Patient", "Observation", "Nothing"]), st.lists(st.tuples(names, values), max_size=4))
def test_no_search_does_more_than_be_refused(type_: str, pairs: list[tuple[str, str]]) -> None:
    try:
        parse_search(type_, pairs)
    except Refusal as refusal:
        assert refusal.status == 400  # noqa: PT017 - either is right


@pytest.mark.fuzz
@given(
    st.text(max_size=40) | st.builds("{}?{}={}".format, st.sampled_from(["Patient", "List"]), names, values)
)
def test_no_type_filter_does_more_than_be_refused(text: str) -> None:
    try:
        found = parse_type_filter(text, now=lambda: NOW)
    except SearchError:
        return
    found(msgspec.json.decode(OBSERVATION))
    found(msgspec.json.decode(PATIENT))


PIECES = (
    """Patient|.|name|where(|)|use|=|'official'|[0]|first()|(|%x|$this|extension|resolve()|ofType(string)"""
)
pieces = st.sampled_from([*PIECES.split("|"), "|", " and ", "-", "1.5", "@2020", "{}", "iif(", ","])


@pytest.mark.fuzz
@given(st.text(max_size=30) | st.lists(pieces, max_size=10).map("".join))
def test_no_path_does_more_than_be_refused(expression: str) -> None:
    try:
        compile_path(expression, "Patient")
    except FHIRPathError:
        return


@pytest.mark.fuzz
@given(bytes_near(*SHIPPED))
def test_no_scrape_schema_does_more_than_be_refused(data: bytes) -> None:
    try:
        compile_schema(read_schema(data, "it.json", VALIDATOR), "it.json")
    except SchemaError as error:
        assert error.problems  # noqa: PT017 - either is right


def _part(value: Any) -> str:
    import base64

    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


headers = st.fixed_dictionaries(
    {},
    optional={
        "alg": st.sampled_from(["ES256", "RS384", "ES384", "none", "HS256", 7]),
        "kid": st.text(max_size=8) | json_values,
        "typ": st.sampled_from(["JWT", "at+jwt", 1]),
        "jku": json_values,
        "crit": json_values,
        "b64": st.booleans(),
    },
)
tokens = st.text(max_size=60) | st.builds(
    "{}.{}.{}".format, headers.map(_part), json_values.map(_part), st.text(max_size=12)
)


@pytest.mark.fuzz
@given(tokens)
@example("." * 8000)
@example("a" * 9000)
def test_no_token_does_more_than_be_refused(token: str) -> None:
    rules = jose.Rules({"ES256": "EC"}, frozenset({"at+jwt"}))
    for read in (lambda: jose.read(token, rules), lambda: assertion.claimed(token)):
        try:
            read()
        except jose.RejectedError as error:
            assert len(token) < 8 or token not in error.text  # noqa: PT017 - either is right


@pytest.mark.fuzz
@given(
    st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40)
    | st.from_regex(r"bytes=[0-9]{0,25}-[0-9]{0,25}(,[0-9]-)?", fullmatch=True),
    st.integers(0, 2**40),
)
@example("bytes=" + "9" * 5000 + "-", 10)
def test_no_range_is_outside_of_what_there_is(text: str, size: int) -> None:
    request = make_mocked_request("GET", "/", headers={hdrs.RANGE: text})
    try:
        asked = request.http_range
    except ValueError:
        return
    part = span(asked, size)
    assert part is None or 0 <= part[0] <= part[1] <= size


@pytest.mark.fuzz
@given(st.lists(st.text(st.characters(codec="latin-1"), max_size=40), max_size=3))
def test_no_preference_does_more_than_be_refused(fields: list[str]) -> None:
    for _, parameters in listed(fields):
        weight(parameters)
    for check in (lenient, check_accept):
        try:
            check(fields)
        except Refusal as refusal:
            assert refusal.status in (400, 406)  # noqa: PT017 - either is right
