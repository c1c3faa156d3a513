"""COPY's binary format, read in pieces of any size, and written."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_storage.resources.copy_rows import COLUMNS, NULL, TRAILER, RowEncoder
from sluice_storage.resources.copy_stream import HEADER, TupleParser, number, text

TUPLES = st.lists(st.lists(st.none() | st.binary(max_size=20), min_size=1, max_size=4), max_size=6)


def stream_of(tuples: list[list[bytes | None]]) -> bytes:
    rows = [
        struct.pack("!h", len(fields))
        + b"".join(NULL if field is None else struct.pack("!i", len(field)) + field for field in fields)
        for fields in tuples
    ]
    return HEADER + b"".join(rows) + TRAILER


def parsed(pieces: list[bytes]) -> list[list[bytes | None]]:
    parser = TupleParser()
    return [
        [None if field is None else bytes(field) for field in fields]
        for piece in pieces
        for fields in parser.feed(piece)
    ]


@given(TUPLES, st.lists(st.integers(0, 400)))
def test_tuples_come_out_as_they_went_in_however_the_stream_is_cut(
    tuples: list[list[bytes | None]], cuts: list[int]
) -> None:
    stream = stream_of(tuples)
    places = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    pieces = [stream[a:b] for a, b in pairwise(places)]
    assert parsed(pieces) == tuples


def test_what_is_no_such_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="not a binary COPY stream"):
        parsed([b"x" * 40])


def test_a_field_that_comes_slowly_is_joined_once() -> None:
    field = bytes(range(256)) * 4000
    stream = stream_of([[field]])
    assert parsed([stream[place : place + 100] for place in range(0, len(stream), 100)]) == [[field]]


def test_values_of_fields() -> None:
    assert number(memoryview(struct.pack("!q", -5))) == -5
    assert number(None) == 0
    assert text(memoryview("é".encode())) == "é"
    assert text(None) == ""


MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


@pytest.mark.parametrize("patients", [(), ("p",), ("p", "q")])
@pytest.mark.parametrize("source_updated", [None, datetime(1999, 1, 1, tzinfo=UTC)])
@pytest.mark.parametrize("body", [None, b"", b"{}"])
def test_a_row_has_every_column_in_its_place(
    patients: tuple[str, ...], source_updated: datetime | None, body: bytes | None
) -> None:
    encoder = RowEncoder("Patient", 7, MOMENT)
    size = None if body is None else len(body)
    head = encoder.head("é", 9, 3, b"digest", source_updated, patients, size)
    (fields,) = parsed([HEADER + head + (body or b"") + TRAILER])
    found = dict(zip(COLUMNS, fields, strict=True))
    epoch = datetime(2000, 1, 1, tzinfo=UTC)

    def micros(moment: datetime) -> bytes:
        return struct.pack("!q", round((moment - epoch).total_seconds() * 1e6))

    assert found == {
        "type": b"Patient",
        "batch": struct.pack("!q", 7),
        "updated": micros(MOMENT),
        "source_updated": source_updated and micros(source_updated),
        "deleted": bytes([body is None]),
        "id": "é".encode(),
        "seq": struct.pack("!q", 9),
        "version": struct.pack("!i", 3),
        "size": struct.pack("!i", len(body or b"")),
        "shared": bytes([len(patients) > 1]),
        "patient": b"p" if patients == ("p",) else None,
        "digest": b"digest",
        "body": body,
    }
