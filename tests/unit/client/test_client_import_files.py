"""What can be imported from: request bodies, lists, NDJSON, CSV and text, and what is none of these."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice_client import ConflictResolution, ImportItem
from sluice_client.importing import ImportFileError, chunks, parse

unhurried = settings(deadline=None)
A = "https://fhir.example/r4/DocumentReference/1"
B = "https://fhir.example/r4/DocumentReference/2"


def references(data: str) -> list[str]:
    return [item.fhir_document_reference for item in parse(data.encode(), project="ann/p").items]


def test_a_request_body_is_taken_as_it_is() -> None:
    body = {"items": [{"fhir_document_reference": A, "parent": "f" * 24}], "conflict_resolution": "OVERWRITE"}
    for text in (json.dumps(body), json.dumps(body, indent=2)):
        request = parse(text.encode())
        assert request.items == [ImportItem(fhir_document_reference=A, parent="f" * 24)]
        assert request.conflict_resolution is ConflictResolution.OVERWRITE


def test_text_has_a_reference_per_line() -> None:
    assert references(f"# mine\n{A}\n\n  {B}  \n") == [A, B]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    assert references(f"\ufeff{A}\r\n{B}\r\n") == [A, B]


def test_lists_and_ndjson_hold_references_or_items() -> None:
    item = json.dumps({"fhir_document_reference": B, "name": "b.pdf"})
    assert references(f'["{A}", {item}]') == [A, B]
    assert references(f'{item}\n{{"fhir_document_reference": "{A}"}}') == [B, A]
    assert references(item) == [B]


def test_csv_columns_are_fields_and_all_others_are_metadata() -> None:
    data = f"reference,name,study,cohort\n{A},a.pdf,S1,\n{B},,S2,4\n"
    first, second = parse(data.encode(), project="ann/p").items
    assert first == ImportItem(
        fhir_document_reference=A, project="ann/p", name="a.pdf", metadata={"study": "S1"}
    )
    assert (second.name, second.metadata) == (None, {"study": "S2", "cohort": "4"})


def test_an_items_own_place_wins_over_the_general_one() -> None:
    data = json.dumps([{"fhir_document_reference": A, "parent": "f" * 24}, A]).encode()
    own, other = parse(data, project="ann/p").items
    assert (own.parent, own.project) == ("f" * 24, None)
    assert (other.parent, other.project) == (None, "ann/p")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"   \n",
        b"[]",
        b'{"items": []}',
        b"\xff\xfe",
        b"{",
        b"[1]",
        b"[",
        b'{"items": 3}',
        b'{"fhir_document_reference": 3}\n{}',
        b"name,study\na,b",
        b"reference,name\n,x",
        b"not a reference",
        b"ftp://fhir.example/DocumentReference/1",
    ],
)
def test_what_cannot_be_imported_is_refused_with_a_hint(data: bytes) -> None:
    with pytest.raises(ImportFileError) as caught:
        parse(data, project="ann/p")
    assert caught.value.advice or caught.value.message


def test_items_without_a_place_are_refused() -> None:
    with pytest.raises(ImportFileError, match="--project"):
        parse(A.encode())


def test_a_refusal_names_the_line_and_not_what_is_on_it() -> None:
    with pytest.raises(ImportFileError, match="Line 2") as caught:
        parse(f"{A}\ncanary-4711".encode(), project="ann/p")
    assert "canary" not in str(caught.value)


@unhurried
@given(st.integers(0, 450))
def test_chunks_keep_every_item_in_order_and_none_is_too_long(count: int) -> None:
    items = [ImportItem(fhir_document_reference=f"{A}{n}") for n in range(count)]
    cut = list(chunks(items))
    assert [item for part in cut for item in part] == items
    assert all(0 < len(part) <= 100 for part in cut)
