"""What a search gives counts as read only where a read would have given the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sluice_fhir.searchset import finds_by_id, matches

KIND = "DocumentReference"


def entry(name: str, mode: str | None = "match", **more: Any) -> dict[str, Any]:
    resource = {"resourceType": KIND, "id": name, "meta": {"versionId": "3"}, **more}
    return {"resource": resource} | ({"search": {"mode": mode}} if mode else {})


def bundle(*entries: Any, type_: str = "searchset") -> bytes:
    return msgspec.json.encode({"resourceType": "Bundle", "type": type_, "entry": entries})


def test_a_match_is_given_byte_for_byte_with_its_version() -> None:
    text = b'{ "resourceType":"DocumentReference",\n "id" : "a", "meta":{"versionId":"7"}, "size": 1.50 }'
    body = b'{"resourceType":"Bundle","type":"searchset","entry":[{"resource":%b}]}' % text
    assert matches(body, KIND, ["a", "b"]) == {"a": (text, "7")}


@pytest.mark.parametrize(
    "found",
    [
        entry("x"),
        entry("a", resourceType="Patient"),
        entry("a", mode="include"),
        entry("a", mode="outcome"),
        entry("a", meta={}),
        entry("a", meta={"versionId": 3}),
        entry("a", meta={"versionId": "3", "tag": [{"code": "SUBSETTED"}]}),
        {"fullUrl": "DocumentReference/a"},
        {"resource": None},
        {"resource": "a"},
    ],
    ids=[
        "not asked for",
        "type",
        "include",
        "outcome",
        "no version",
        "no text",
        "part",
        "no",
        "null",
        "text",
    ],
)
def test_what_a_read_might_give_otherwise_is_left_out_and_the_rest_is_not(found: Any) -> None:
    assert set(matches(bundle(found, entry("b", mode=None)), KIND, ["a", "b"])) == {"b"}


def test_what_comes_twice_is_left_out() -> None:
    assert set(matches(bundle(entry("a"), entry("b"), entry("a")), KIND, ["a", "b"])) == {"b"}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", bundle(entry("a"), type_="batch-response"), b'{"type":"searchset","entry":{}}'],
)
def test_what_is_no_searchset_holds_nothing(body: bytes) -> None:
    assert matches(body, KIND, ["a"]) == {}


def statement(kind: str = KIND, code: str = "search-type", mode: str = "server", **more: Any) -> bytes:
    resource = {"type": kind, "interaction": [{"code": "read"}, {"code": code}], **more}
    return msgspec.json.encode(
        {"resourceType": "CapabilityStatement", "rest": [{"mode": mode, "resource": [resource]}]}
    )


PARAMETERS = [{"name": "patient", "type": "reference"}, {"name": "_id", "type": "token"}]


def test_a_server_finds_by_id_that_says_so_of_the_type_or_of_all_types() -> None:
    assert finds_by_id(statement(searchParam=PARAMETERS), KIND)
    whole = msgspec.json.decode(statement())
    whole["rest"][0]["searchParam"] = PARAMETERS
    assert finds_by_id(msgspec.json.encode(whole), KIND)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"rest":7}',
        statement(),
        statement("Patient", searchParam=PARAMETERS),
        statement(code="read", searchParam=PARAMETERS),
        statement(mode="client", searchParam=PARAMETERS),
        statement(searchParam=PARAMETERS[:1]),
    ],
)
def test_a_server_that_does_not_say_so_does_not_find_by_id(body: bytes) -> None:
    assert not finds_by_id(body, KIND)
