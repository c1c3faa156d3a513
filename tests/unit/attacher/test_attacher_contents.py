"""Base64, Binary and what a document states: the same bytes come out however they are cut."""

from __future__ import annotations

import base64
import hashlib
import tracemalloc
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice_attacher.binary import Unwrapping
from sluice_attacher.checks import Check, digest_of
from sluice_attacher.documents import choose
from sluice_attacher.inline import Base64Decoder, inline_pieces
from sluice_contracts.errors import ItemError
from sluice_security.failure import SourceFailure

CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=8)


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    pieces, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        pieces.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return pieces


async def stream(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def spelled(text: str, seed: int) -> bytes:
    """Spell base64 as serializers do: escapes for `/` and `=`, line breaks."""
    if seed & 1:
        text = text.replace("/", "\\/")
    if seed & 2:
        text = text.replace("=", "\\u003d")
    if seed & 4:
        text = "\\r\\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    return text.encode()


def decoded(pieces: Sequence[bytes]) -> bytes:
    decoder = Base64Decoder()
    return b"".join([decoder.feed(piece) for piece in pieces]) + decoder.finish()


@pytest.mark.fuzz
@given(st.binary(max_size=300), CUTS, st.integers(0, 7))
def test_base64_decodes_the_same_however_it_is_cut_and_spelled(
    data: bytes, sizes: list[int], seed: int
) -> None:
    text = spelled(base64.b64encode(data).decode(), seed)
    assert decoded(cut(text, sizes)) == data
    assert b"".join(inline_pieces(memoryview(b'"' + text + b'"'))) == data


@pytest.mark.parametrize(
    "text", ["QUJ", "QUJD=", "QUI=QUJD", "QU-_", "QUJD!", "=", "QUJ\\", "\\u00e9abc", "QUJD\\q", "\\u00"]
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_what_is_no_base64_is_refused_however_it_is_cut(text: str, size: int) -> None:
    with pytest.raises(SourceFailure) as failed:
        decoded(cut(text.encode(), [size]))
    assert failed.value.code is ItemError.BAD_INLINE_DATA


async def unwrapped(
    body: bytes, sizes: Sequence[int], *, fhir_wanted: bool = False
) -> tuple[bytes, str | None]:
    unwrapping = Unwrapping(200, fhir_wanted=fhir_wanted)
    content = b"".join([chunk async for chunk in unwrapping.chunks(stream(cut(body, sizes)))])
    return content, unwrapping.content_type


@pytest.mark.fuzz
@settings(max_examples=200)
@given(st.binary(min_size=1, max_size=300), CUTS, st.integers(0, 7), st.integers(0, 3))
async def test_a_binary_is_unwrapped_however_it_is_cut_and_ordered(
    data: bytes, sizes: list[int], seed: int, order: int
) -> None:
    encoded = spelled(base64.b64encode(data).decode(), seed).decode()
    meta = '"meta": {"tag": [{"data": "QUFB", "x": "}]\\"data\\": "}], "n": -1.5e3}'
    parts = ['"contentType" : "application/pdf"', f'"data":"{encoded}"', meta]
    parts = parts[order:] + parts[:order]
    parts.insert(0 if order < 2 else 2, '"resourceType": "Binary"')
    body = (" {\n" + ",\n ".join(parts) + "\n}\n").encode()
    assert await unwrapped(body, sizes) == (data, "application/pdf")


@given(st.binary(max_size=200), CUTS)
async def test_what_is_no_binary_passes_through_untouched(data: bytes, sizes: list[int]) -> None:
    assert await unwrapped(data, sizes) == (data, None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"resourceType":"Bundle","data":"QUJD"}',
        b'{"a": {"resourceType":"Binary","data":"QUJD"}}',
        b'[{"resourceType":"Binary","data":"QUJD"}]',
        b'{"broken',
        b'{"x":"' + b"A" * 2_000_000 + b'"}',
    ],
)
async def test_json_that_is_no_binary_is_a_content_like_any_other(body: bytes) -> None:
    assert await unwrapped(body, [1000]) == (body, None)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"resourceType":"Binary"}', ItemError.NO_CONTENT),
        (b'{"id":"1","resourceType":"Binary"}', ItemError.NO_CONTENT),
        (b'{"resourceType":"Binary","data":""', ItemError.NOT_JSON),
        (b'{"resourceType":"Binary","data":"QUJD', ItemError.NOT_JSON),
        (b'{"resourceType":"Binary","data":"QU?D"}', ItemError.BAD_INLINE_DATA),
        (b'{"resourceType":"Binary","x":"' + b"A" * 2_000_000 + b'"}', ItemError.NOT_JSON),
        (b'{"resourceType":"OperationOutcome","issue":[]}', ItemError.SOURCE_REJECTED),
    ],
)
async def test_a_binary_without_its_content_says_what_is_wrong(body: bytes, code: ItemError) -> None:
    with pytest.raises(SourceFailure) as failed:
        await unwrapped(body, [700])
    assert (failed.value.code, failed.value.status) in {(code, 200), (code, None)}


async def test_an_operation_outcome_may_be_the_content_where_fhir_is_wanted() -> None:
    body = b'{"resourceType":"OperationOutcome","issue":[]}'
    assert await unwrapped(body, [9], fhir_wanted=True) == (body, None)


async def passed(
    data: bytes, *, size: int | None = None, stated: str | None = None, limit: int = 1000
) -> bytes:
    check = Check(size=size, stated_hash=stated, limit=limit, status=200)
    chunks = check.passing(stream(cut(data, [7])))
    return b"".join([chunk async for chunk in chunks])


DATA = b"hello, world"
SHA1 = hashlib.sha1(DATA, usedforsecurity=False).digest()


@pytest.mark.parametrize(
    "stated",
    [
        None,
        base64.b64encode(SHA1).decode(),
        SHA1.hex(),
        SHA1.hex().upper(),
        base64.b64encode(SHA1.hex().encode()).decode(),
        f" {base64.b64encode(SHA1).decode()}\n",
    ],
)
async def test_a_content_that_is_as_stated_passes(stated: str | None) -> None:
    assert await passed(DATA, size=len(DATA), stated=stated) == DATA
    assert await passed(DATA, stated=stated, limit=len(DATA)) == DATA


@pytest.mark.parametrize(
    ("size", "stated", "limit", "code"),
    [
        (11, None, 1000, ItemError.SIZE_MISMATCH),
        (13, None, 1000, ItemError.SIZE_MISMATCH),
        (0, None, 1000, ItemError.SIZE_MISMATCH),
        (None, base64.b64encode(b"x" * 20).decode(), 1000, ItemError.HASH_MISMATCH),
        (None, "no hash", 1000, ItemError.HASH_MISMATCH),
        (None, base64.b64encode(b"x" * 32).decode(), 1000, ItemError.HASH_MISMATCH),
        (None, None, 11, ItemError.ATTACHMENT_TOO_LARGE),
    ],
)
async def test_a_content_that_is_not_as_stated_fails(
    size: int | None, stated: str | None, limit: int, code: ItemError
) -> None:
    with pytest.raises(SourceFailure) as failed:
        await passed(DATA, size=size, stated=stated, limit=limit)
    assert failed.value.code is code


@pytest.mark.fuzz
@given(st.text(max_size=80))
def test_no_stated_hash_breaks_the_reader(stated: str) -> None:
    digest = digest_of(stated)
    assert digest is None or len(digest) == 20


def test_inline_data_is_not_copied_to_be_looked_at() -> None:
    data = base64.b64encode(bytes(3_000_000)).decode()
    body = msgspec.json.encode({"content": [{"attachment": {"data": data}}]})
    tracemalloc.start()
    chosen = choose(body, lambda _kind: True)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100_000
    assert len(chosen.content.data) == len(data) + 2
