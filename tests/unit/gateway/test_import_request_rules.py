"""What an import request may hold: every rule, one answer that lists every breach, never the input itself."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_fhir.sources import Source
from sluice_gateway.import_requests import parse_import, registered
from sluice_gateway.metadata import checked
from sluice_gateway.names import clean_name
from sluice_gateway.problems import Problem
from sluice_gateway.references import checked_reference
from sluice_storage.catalogue.naming import safe_name
from support.gateway_memory import BASE, FOLDER, MemoryRegistry, one_item

CLIENT = "portal"

REFERENCE = f"{BASE}/DocumentReference/1"


def problems(body: Any) -> dict[str, str]:
    """Give the field problems of a body by path."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {problem.path: problem.rule for problem in parse_import(raw)[2]}


def refusal(raw: bytes) -> str:
    """Say how a body is refused: as no JSON, for its fields, or not at all."""
    try:
        return "fields" if parse_import(raw)[2] else ""
    except Problem as problem:
        return problem.code


def test_the_documented_example_is_accepted_and_its_trailing_slash_is_dropped() -> None:
    body = {
        "conflict_resolution": "SKIP",
        "items": [
            {
                "fhir_document_reference": "https://hapi.fhir.org/baseR4/DocumentReference/44765605",
                "project": "rfranklin/fhir-import/",
                "name": "test-file.ext",
                "metadata": {"study_id": "1", "cohort": 4},
            }
        ],
        "tags": ["INCLUDE"],
    }
    request, candidates, wrong = parse_import(json.dumps(body).encode())
    assert request is not None
    assert not wrong
    assert request.items[0].project == "rfranklin/fhir-import"
    assert candidates == [(0, "https://hapi.fhir.org/baseR4/DocumentReference/44765605")]


def test_a_hundred_items_are_accepted_and_one_more_is_refused_with_the_limit() -> None:
    item = one_item()["items"][0]
    assert not problems({"items": [item] * 100})
    assert problems({"items": [item] * 101})["items"] == "must have at most 100 items, not 101"


def test_no_items_are_refused() -> None:
    assert "at least 1" in problems({"items": []})["items"]
    assert problems({}) == {"items": "is required"}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"parent": FOLDER}, "items[0].project"),
        ({"project": None}, "items[0].project"),
        ({"project": None, "parent": "not-an-id"}, "items[0].parent"),
        ({"project": "no-slash"}, "items[0].project"),
        ({"project": "a/b/c"}, "items[0].project"),
        ({"project": "a b/c"}, "items[0].project"),
        ({"project": "a/b\0"}, "items[0].project"),
    ],
)
def test_an_item_names_one_place_and_only_one(fields: dict[str, Any], path: str) -> None:
    assert list(problems(one_item(**fields))) == [path]


def test_a_broken_parent_is_reported_once_and_not_also_as_missing() -> None:
    assert list(problems(one_item(project=None, parent="x"))) == ["items[0].parent"]


@pytest.mark.parametrize(
    "uri",
    [
        "DocumentReference/1",
        "/r4/DocumentReference/1",
        "ftp://fhir.example.org/DocumentReference/1",
        "https://fhir.example.org/r4/Patient/1",
        "https://fhir.example.org/r4/documentreference/1",
        "https://fhir.example.org/r4/DocumentReference",
        "https://fhir.example.org/r4/DocumentReference/",
        "https://fhir.example.org/r4/DocumentReference/a_b",
        "https://fhir.example.org/r4/DocumentReference/" + "a" * 65,
        "https://fhir.example.org/r4/DocumentReference/1/_history",
        "https://fhir.example.org/r4/DocumentReference/1?x=1",
        "https://fhir.example.org/r4/DocumentReference/1#x",
        "https://user@fhir.example.org/r4/DocumentReference/1",
        "https://user:secret@fhir.example.org/r4/DocumentReference/1",
        "https://fhir.example.org\\@evil.example/r4/DocumentReference/1",
        "https://fhir.example.org/r4/../admin/DocumentReference/1",
        "https://fhir.example.org/r4/%2e%2e/DocumentReference/1",
        "https://fhir.example.org/r4//DocumentReference/1",
        "https://fhir.example.org/r4/DocumentReference/..",
        "https://fhir.example.org/r4/DocumentReference/1/_history/..",
        "https://fhir.example.org:0/DocumentReference/1",
        "https://fhir.example.org:65536/DocumentReference/1",
        "https://fhir.example.org:/DocumentReference/1",
        "https:///DocumentReference/1",
        "https://fhir.example.org/r4/DocumentReference/1\n",
        " https://fhir.example.org/r4/DocumentReference/1",
        "https://fhir.example.org/r4/DocumentReference/\u0661",
        "https://fhïr.example.org/r4/DocumentReference/1",
        "https://fhir.example.org/" + "a/" * 1024 + "DocumentReference/1",
    ],
)
def test_what_is_no_address_of_a_document_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="must"):
        checked_reference(uri)
    assert list(problems(one_item(fhir_document_reference=uri))) == ["items[0].fhir_document_reference"]


@pytest.mark.parametrize(
    "uri",
    [
        REFERENCE,
        f"{REFERENCE}/_history/3",
        "HTTPS://FHIR.EXAMPLE.ORG/r4/DocumentReference/a-b.C",
        "http://[2001:db8::1]:8080/DocumentReference/1",
        "https://fhir.example.org:8443/a/b/c/DocumentReference/" + "a" * 64,
    ],
)
def test_addresses_of_documents_and_their_versions_are_kept_as_they_are(uri: str) -> None:
    assert checked_reference(uri) == uri


@pytest.mark.fuzz
@given(st.text(max_size=60))
def test_what_passes_as_a_reference_ends_in_a_document_and_has_no_way_out(tail: str) -> None:
    uri = f"https://fhir.example.org/r4/{tail}"
    try:
        checked_reference(uri)
    except ValueError:
        return
    assert "/DocumentReference/" in uri
    assert not {"?", "#", "\\", "%", " "} & set(uri)
    assert uri.split("/")[2] == "fhir.example.org"
    assert not {".", ".."} & set(uri.split("/"))
    assert uri.isascii()


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        ".",
        "..",
        "a/b",
        "a\\b",
        "../../etc/passwd",
        "a\0b",
        "a\nb",
        "a\x7fb",
        "a\u0085b",
        "invoice\u202efdp.exe",
        "a\u2066b",
        "a\u2028b",
        "a\u2215b",
        "\ufeffa",
        " a",
        "a ",
        "a" * 256,
        "é" * 128,
        "e\u0301" * 128,
    ],
)
def test_names_that_could_mislead_or_not_be_stored_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must"):
        clean_name(name)
    assert list(problems(one_item(name=name))) == ["items[0].name"]


def test_a_name_of_300_bytes_is_refused_with_the_limit() -> None:
    assert "at most 255 bytes" in problems(one_item(name="n" * 300))["items[0].name"]


def test_a_name_of_255_bytes_is_accepted_in_composed_form() -> None:
    assert clean_name("a" * 255) == "a" * 255
    assert clean_name("Ergebnisse Mu\u0308ller.pdf") == "Ergebnisse M\u00fcller.pdf"


@given(st.text(max_size=300))
def test_an_accepted_name_is_one_that_the_catalogue_would_keep_as_it_is(name: str) -> None:
    try:
        kept = clean_name(name)
    except ValueError:
        return
    assert safe_name(kept) == kept
    assert kept == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": {"b": 1}},
        {"a": [1]},
        {"a": [["b"]]},
        {"a": [None]},
        {"a": "x" * 301},
        {"a": ["x"] * 101},
        {"a": ["x" * 301]},
        {"": "x"},
        {"k" * 101: "x"},
        {"a\nb": "x"},
        {"a": "x\0"},
        {"a": 2**63},
        {"a": "right\u202eleft"},
        {f"k{n}": "x" for n in range(1001)},
    ],
)
def test_metadata_is_flat_and_of_bounded_size(metadata: dict[str, Any]) -> None:
    assert list(problems(one_item(metadata=metadata))) == ["items[0].metadata"]


def test_metadata_that_is_deep_beyond_reading_is_no_crash() -> None:
    deep = b'{"a":' * 5000 + b"1" + b"}" * 5000
    raw = b'{"items":[{"fhir_document_reference":"%s","project":"a/b","metadata":%s}]}' % (
        REFERENCE.encode(),
        deep,
    )
    with pytest.raises(Problem) as refused:
        parse_import(raw)
    assert refused.value.status == 400


@given(
    st.dictionaries(
        st.text(max_size=20),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=20)
        | st.lists(st.text(max_size=5)),
        max_size=5,
    )
)
def test_accepted_metadata_keeps_every_value_and_can_be_written_as_json(metadata: dict[str, Any]) -> None:
    try:
        kept = checked(metadata)
    except ValueError:
        return
    assert list(kept.values()) == list(metadata.values()) or len(kept) < len(metadata)
    assert json.loads(json.dumps(kept, allow_nan=False)) == kept


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"conflict_resolution": "MERGE"}, "conflict_resolution"),
        ({"conflict_resolution": "skip"}, "conflict_resolution"),
        ({"conflict_resolution": 1}, "conflict_resolution"),
        ({"tags": "INCLUDE"}, "tags"),
        ({"tags": [1]}, "tags[0]"),
        ({"tags": [""]}, "tags[0]"),
        ({"tags": ["x" * 256]}, "tags[0]"),
        ({"tags": ["x"] * 101}, "tags"),
        ({"tag": ["x"]}, "tag"),
        ({"items": "x"}, "items"),
        ({"items": [1]}, "items[0]"),
    ],
)
def test_each_field_of_the_request_has_its_rule(change: dict[str, Any], path: str) -> None:
    assert list(problems({**one_item(), **change})) == [path]


def test_a_misspelled_field_is_refused_and_not_a_silent_default() -> None:
    assert problems(one_item(folder=FOLDER)) == {"items[0].folder": "is not a field of this request"}


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b'{"items": NaN}', b"{'items': []}", b"{}x"]
)
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    assert refusal(raw) in ("not_json", "fields")


def test_every_problem_of_every_item_is_listed_with_its_position() -> None:
    sound = one_item()["items"][0]
    body = {
        "items": [
            sound,
            {**sound, "parent": FOLDER},
            {**sound, "name": "a/b", "metadata": {"x": {}}},
            {**sound, "fhir_document_reference": "nonsense"},
        ],
        "conflict_resolution": "MERGE",
    }
    assert set(problems(body)) == {
        "items[1].project",
        "items[2].name",
        "items[2].metadata",
        "items[3].fhir_document_reference",
        "conflict_resolution",
    }


async def test_sources_are_checked_also_in_a_request_that_is_wrong_elsewhere() -> None:
    body = {"items": [*one_item(name="a/b")["items"], *one_item()["items"]]}
    body["items"][1]["fhir_document_reference"] = "https://elsewhere.example/DocumentReference/1"
    request, candidates, wrong = parse_import(json.dumps(body).encode())
    sources = MemoryRegistry(Source(id="one", name="One", base_url=BASE))
    found, unregistered = await registered(sources, candidates, CLIENT)
    assert request is None
    assert [problem.path for problem in wrong] == ["items[0].name"]
    assert found == {0: "one"}
    assert [problem.path for problem in unregistered] == ["items[1].fhir_document_reference"]


async def test_a_source_that_is_for_others_is_not_registered() -> None:
    _, candidates, _ = parse_import(json.dumps(one_item()).encode())
    for clients, ours in (((), True), (("other", CLIENT), True), (("other",), False)):
        sources = MemoryRegistry(Source(id="one", name="One", base_url=BASE, clients=clients))
        found, unregistered = await registered(sources, candidates, CLIENT)
        assert (found == {0: "one"}, unregistered == []) == (ours, ours)


@given(st.text(min_size=12, max_size=40, alphabet="QXZ9"))
def test_no_problem_repeats_what_was_sent(marker: str) -> None:
    body = one_item(
        fhir_document_reference=f"mailto:{marker}",
        project=f"{marker}",
        name=f"{marker}/",
        metadata={"key": {marker: 1}},
    )
    body["conflict_resolution"] = marker
    body["tags"] = [marker * 30]
    text = str(problems(body))
    assert marker not in text


def test_numbers_outside_of_json_are_refused() -> None:
    raw = json.dumps(one_item(metadata={"a": "@"})).encode()
    for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999"):
        assert refusal(raw.replace(b'"@"', number)) in ("not_json", "fields")


def test_the_project_may_be_named_with_letters_of_any_script() -> None:
    assert not problems(one_item(project="jörg/étude"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "items",
                    "tags",
                    "conflict_resolution",
                    "fhir_document_reference",
                    "project",
                    "parent",
                    "metadata",
                ]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.fuzz
@given(JSON)
def test_whatever_json_is_sent_is_accepted_or_refused_and_never_a_crash(body: Any) -> None:
    raw = json.dumps(body).encode()
    assert refusal(raw) in ("not_json", "fields", "")


@pytest.mark.fuzz
@given(st.binary(max_size=60))
def test_whatever_bytes_are_sent_are_refused_and_never_a_crash(raw: bytes) -> None:
    assert refusal(raw) in ("not_json", "fields")
