"""Parsers of what sources answer and of what is on Kafka: read, or left out, and no more."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_attacher.documents import Chosen, Content
from sluice_attacher.filenames import file_name
from sluice_contracts.ids import MOST_IN_LOT
from sluice_fhir import scrape_values
from sluice_fhir.attachment import _RANGE as CONTENT_RANGE
from sluice_fhir.compartments import patients_of
from sluice_fhir.export_calls import _codes as codes
from sluice_fhir.export_calls import _per_cent as per_cent
from sluice_fhir.measures.artifacts import version_order
from sluice_fhir.measures.canonicals import parse_canonical
from sluice_fhir.measures.datatypes import Library, Measure, decode_artifact
from sluice_fhir.measures.problems import MeasureError
from sluice_fhir.references import local_mentions, mentioned
from sluice_fhir.scrape_addresses import follow_address
from sluice_fhir.scrape_match import Capability, read_capability
from sluice_fhir.scrape_plan import Node
from sluice_fhir.scrape_run import _entries as entries
from sluice_fhir.search_values import span_of
from sluice_fhir.source_tokens import _read_answer as read_token
from sluice_security.failure import SourceFailure
from sluice_streaming.items import ITEMS
from sluice_streaming.items import _named as items_named
from sluice_streaming.letters import DIED, DIGEST
from sluice_streaming.letters_reading import letter_of
from sluice_streaming.memory import MemoryRecord
from sluice_streaming.retries import CODE, STATUS
from sluice_streaming.salvage import SalvagedStart, salvaged
from support.fuzzing import bytes_near, json_values

DEEP = b'{"job":"j","x":' + b"[" * 100_000
TOKEN = b'{"access_token":"a","token_type":"bearer","expires_in":300}'


@pytest.mark.fuzz
@given(bytes_near(TOKEN))
@example(DEEP)
@example(b'{"access_token":"a","expires_in":-1e308}')
def test_no_answer_of_a_token_endpoint_does_more_than_be_refused(body: bytes) -> None:
    try:
        token = read_token(body, 200, began=5.0)
    except SourceFailure:
        return
    assert token.headers["Authorization"].isprintable()


OUTCOME = b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found"}]}'


@pytest.mark.fuzz
@given(bytes_near(OUTCOME))
@example(DEEP)
def test_no_outcome_of_a_source_holds_more_than_codes(body: bytes) -> None:
    found = codes(body)
    assert found is None or all(isinstance(code, str) for code in found)


@pytest.mark.fuzz
@given(st.text(max_size=30) | st.from_regex(r"[0-9]{0,9}(\.[0-9]{0,9})? ?%", fullmatch=True))
@example("9" * 5000 + "%")
def test_no_progress_of_a_source_is_beyond_its_end(text: str) -> None:
    found = per_cent(text)
    assert found is None or 0 <= found <= 100


@pytest.mark.fuzz
@given(st.text() | st.from_regex(r"bytes [0-9]{0,25}-[0-9]{0,25}/([0-9]{0,25}|\*)", fullmatch=True))
@example("bytes " + "1" * 5000 + "-2/3")
def test_no_range_that_a_source_answers_is_more_than_numbers(text: str) -> None:
    given = CONTENT_RANGE.fullmatch(text)
    assert given is None or [int(part) for part in given.groups() if part]


STATEMENT = b'{"resourceType":"CapabilityStatement","software":{"name":"s"},"fhirVersion":"4.0.1"}'
BUNDLE = b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","id":"p"}}]}'


@pytest.mark.fuzz
@given(bytes_near(STATEMENT, BUNDLE))
@example(DEEP)
def test_no_answer_to_what_a_schema_asks_does_more_than_hold_nothing(body: bytes) -> None:
    assert isinstance(read_capability(body), Capability)
    assert all(isinstance(each, msgspec.Raw) for each in entries(body))


OBSERVATION = (
    b'{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/p"},"performer":[{"reference":'
    b'"https://h.test/fhir/Patient/q/_history/1"}],"hasMember":{"reference":"Observation/."}}'
)


@pytest.mark.fuzz
@given(bytes_near(OBSERVATION))
def test_no_resource_mentions_what_could_not_be_one(line: bytes) -> None:
    with suppress(UnicodeDecodeError):
        line.decode()
        for type_, name in mentioned(local_mentions("https://h.test/fhir")(line)):
            assert type_.isalpha()
            assert name.encode() in line


@pytest.mark.fuzz
@given(st.dictionaries(st.sampled_from(["id", "subject", "performer", "patient"]), json_values))
def test_no_shape_of_a_resource_keeps_it_from_having_patients(more: dict[str, Any]) -> None:
    for type_ in ("Patient", "Observation", "Coverage", "Group", "Nothing"):
        found = patients_of({**more, "resourceType": type_}, "https://h.test/fhir")
        assert all(isinstance(name, str) for name in found)


NODE = Node(1, "it", frozenset({"Patient", "Group"}), 1)


@pytest.mark.fuzz
@given(
    st.text(max_size=30)
    | st.from_regex(r"(https://h\.test/fhir/)?(Patient|Group|List)[/?#][a-z/%=&.#]{0,12}")
)
@example("Patient?identifier=a b&x#y")
@example("Patient/../../secrets")
def test_no_reference_leads_out_of_its_server(text: str) -> None:
    found = follow_address(NODE, text, "https://h.test/fhir")
    if found is not None:
        assert found.url.startswith(("https://h.test/fhir/Patient", "https://h.test/fhir/Group"))
        assert "/.." not in found.url
        assert found.url.isascii()
        assert found.url.isprintable()


moments = st.from_regex(
    r"[0-9]{4}(-[0-9]{2}(-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,12})?)?(Z|[+-][0-9]{2}:[0-9]{2}))?)?)?",
    fullmatch=True,
)


@pytest.mark.fuzz
@given(st.text(max_size=30) | moments | json_values)
@example("0001-01-01T00:00:00+14:00")
@example("9999-12-31T23:59:60-14:00")
@example("2026-01-01T00:00:00+99:99")
def test_no_value_is_a_time_or_a_number_unless_it_is_written_as_one(value: Any) -> None:
    span = span_of(value)
    assert span is None or isinstance(span.low, datetime)
    assert scrape_values.datetime(value) in (None, value)
    for number in (scrape_values.number(value), scrape_values.integer(value)):
        assert number is None or abs(number) <= 10**18
    if isinstance(value, str):
        assert scrape_values.age(value, "2026-01-01", "months") in (None, *range(2026 * 12))


LIBRARY = (
    b'{"resourceType":"Library","url":"u","version":"1","content":[{"contentType":"application/elm+json",'
    b'"data":"e30="}],"relatedArtifact":[{"type":"depends-on","resource":"u|1"}]}'
)
MEASURE = b'{"resourceType":"Measure","url":"u","library":["u|1"],"group":[{"population":[{}]}]}'


@pytest.mark.fuzz
@given(bytes_near(LIBRARY, MEASURE))
@example(DEEP)
def test_no_artifact_does_more_than_be_refused(body: bytes) -> None:
    kind: Any
    for kind in (Library, Measure):
        with suppress(MeasureError):
            assert isinstance(decode_artifact(kind, body, "it"), kind)


@pytest.mark.fuzz
@given(st.lists(st.text(max_size=20) | st.from_regex(r"[0-9]{1,25}(\.[0-9]{1,9}){0,3}(-[a-z]{1,9})?")))
@example(["9" * 5000, "\u00b2.1", "1"])
def test_any_versions_can_be_compared_and_any_canonical_be_read(texts: list[str]) -> None:
    assert sorted(texts, key=version_order) is not None
    for text in texts:
        found = parse_canonical(f"{text}|{text}")
        assert "|" not in found.url


WORDS = st.none() | st.text(max_size=30) | st.sampled_from(["https://h.test/a/..", "a%2F..%2fb", "%00"])


@pytest.mark.fuzz
@given(WORDS, WORDS, WORDS, WORDS, WORDS)
def test_no_title_and_no_address_leads_a_file_elsewhere(
    asked: str | None, title: str | None, url: str | None, document: str | None, kind: str | None
) -> None:
    content = Content(content_type=kind, data=memoryview(b""), url=url, size=None, hash=None, title=title)
    name = file_name(asked, Chosen(content, document, 0), kind)
    assert "/" not in name
    assert name not in ("", ".", "..")


START = b'{"type":"StartBulkExport","job":"0191d2a0-0000-8000-8000-000000000001","client":"c","subject":"s"}'


def record(value: bytes | None, headers: list[tuple[str, bytes]], key: bytes | None = b"j") -> MemoryRecord:
    return MemoryRecord("jobs.bulk-export", 3, 17, key, value, tuple(headers), 5)


@pytest.mark.fuzz
@given(bytes_near(START) | st.none())
@example(DEEP)
def test_no_start_that_is_no_command_does_more_than_be_left_alone(value: bytes | None) -> None:
    found = salvaged(record(value, []), SalvagedStart)
    assert found is None or isinstance(found, SalvagedStart)


said = st.binary(max_size=12) | st.sampled_from([b"404", "\u00b2".encode(), b"1.5", b"1e999", b"9" * 5000])


@pytest.mark.fuzz
@given(st.lists(st.tuples(st.sampled_from([CODE, STATUS, DIED, DIGEST, "items"]), said), max_size=6))
@example([(STATUS, "\u00b2".encode())])
@example([(DIED, "\u00b2".encode())])
def test_no_headers_keep_a_dead_letter_from_being_read(headers: list[tuple[str, bytes]]) -> None:
    letter = letter_of(record(b"{}", headers))
    assert letter.origin_offset == 17
    assert letter.status is None or letter.status >= 0
    assert datetime.fromtimestamp(letter.died, UTC)


@pytest.mark.fuzz
@given(st.binary(max_size=60) | st.none(), st.binary(max_size=20) | st.just(b"0-9,11"))
def test_no_key_and_no_header_name_items_without_end(key: bytes | None, items: bytes) -> None:
    assert len(items_named(record(None, [(ITEMS, items)], key))) <= MOST_IN_LOT
