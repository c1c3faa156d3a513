"""Manifests as sources write them: all versions are read, and anything else is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_contracts.errors import ItemError
from sluice_contracts.imports import PulledKind
from sluice_fhir.export_manifest import ListedFile, read_manifest
from sluice_security.failure import SourceFailure
from support.fuzzing import json_values

URL = "https://fhir.example.org/r4/status/7"


def read(**fields: Any) -> Any:
    return read_manifest(json.dumps({"output": [], **fields}).encode(), URL)


def test_a_manifest_of_version_2_is_read() -> None:
    manifest = read(
        transactionTime="2026-02-03T05:05:06.5+01:00",
        request="https://fhir.example.org/r4/$export",
        requiresAccessToken=False,
        output=[{"type": "Patient", "url": "https://files.example.org/1?sig=a%2Fb", "count": 7}],
        deleted=[{"type": "Bundle", "url": "https://fhir.example.org/r4/d"}],
        error=[{"type": "OperationOutcome", "url": "https://fhir.example.org/r4/e"}],
    )
    assert manifest.transaction_time == datetime(2026, 2, 3, 4, 5, 6, 500_000, UTC)
    assert manifest.requires_token is False
    assert manifest.files == (
        # As it is spelled: a signature is over the text.
        ListedFile(PulledKind.OUTPUT, "https://files.example.org/1?sig=a%2Fb", "Patient", 7),
        ListedFile(PulledKind.DELETED, "https://fhir.example.org/r4/d", "Bundle"),
        ListedFile(PulledKind.ERROR, "https://fhir.example.org/r4/e", "OperationOutcome"),
    )


def test_a_manifest_of_version_3_goes_on_and_may_be_organized_by_patient() -> None:
    manifest = read(
        outputOrganizedBy="Patient",
        output=[{"type": "Patient", "url": "../files/1"}],
        link=[{"relation": "self", "url": "x"}, {"relation": "next", "url": "?page=1"}],
    )
    assert manifest.following == f"{URL}?page=1"
    # A block has resources of all types.
    assert manifest.files == (ListedFile(PulledKind.OUTPUT, "https://fhir.example.org/r4/files/1"),)


def test_what_the_source_tells_may_be_listed_as_in_the_ballot() -> None:
    told = {"type": "OperationOutcome", "url": "https://fhir.example.org/r4/e"}
    expected = (ListedFile(PulledKind.ERROR, told["url"], "OperationOutcome"),)
    assert read(outcome=[told]).files == read(error=[told], outcome=[told]).files == expected
    with pytest.raises(SourceFailure):
        read(outcome={})


def test_a_next_page_may_be_spelled_as_in_the_ballot() -> None:
    assert (
        read(next="https://fhir.example.org/r4/status/8").following == "https://fhir.example.org/r4/status/8"
    )


def test_how_deep_a_manifest_may_nest_is_for_the_caller_to_say() -> None:
    body = b'{"output": [], "extension": {"a": {"b": {}}}}'
    assert not read_manifest(body, URL, 4).files
    with pytest.raises(SourceFailure):
        read_manifest(body, URL, 3)


def test_an_address_is_listed_once() -> None:
    manifest = read(output=[{"url": "a", "type": "Patient"}, {"url": "a", "type": "Group"}])
    assert [file.type for file in manifest.files] == ["Patient"]


@pytest.mark.parametrize("count", [-1, 1.5, "7", True, None, 2**70, [1]])
def test_a_count_that_is_none_is_left_out_of_account(count: Any) -> None:
    assert read(output=[{"url": "a", "count": count}]).files[0].count is None


def test_files_are_protected_unless_it_is_said_that_they_are_not() -> None:
    assert read().requires_token
    assert read(requiresAccessToken="false").requires_token
    assert read(transactionTime="yesterday").transaction_time is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"\xff\xfe",
        b'{"output":null}',
        b'{"output":"x"}',
        b'{"output":[3]}',
        b'{"output":[{}]}',
        b'{"output":[{"url":""}]}',
        b'{"output":[{"url":"https://user@x.example/"}]}',
        b'{"output":[{"url":"ftp://x.example/"}]}',
        b'{"output":[{"url":"https://x.example/a b"}]}',
        b'{"output":[],"deleted":{}}',
        b'{"output":[],"link":[{"relation":"next"}]}',
        b'{"output":' + b"[" * 10_000,
    ],
)
def test_what_is_no_manifest_is_refused(body: bytes) -> None:
    with pytest.raises(SourceFailure) as caught:
        read_manifest(body, URL)
    assert caught.value.code is ItemError.BAD_MANIFEST
    assert not caught.value.retry


_NAMES = st.sampled_from(
    ["output", "deleted", "error", "url", "type", "count", "link", "relation", "next", "transactionTime"]
)


@pytest.mark.fuzz
@given(st.dictionaries(_NAMES, json_values | st.lists(st.dictionaries(_NAMES, json_values), max_size=3)))
def test_no_answer_does_anything_but_be_read_or_refused(fields: dict[str, Any]) -> None:
    try:
        manifest = read_manifest(json.dumps(fields).encode(), URL)
    except SourceFailure as failure:
        code = failure.code
        assert code is ItemError.BAD_MANIFEST
    else:
        assert len({file.url for file in manifest.files}) == len(manifest.files)
