"""Of an encrypted object any part can be read, and no byte that is not the one that was written."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import obstore
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore
from obstore.store import ObjectStore as Backend
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from sluice_storage.encryption.framing import FRAME, HEAD, SEALED, Sealer, sealed, sealed_size
from sluice_storage.encryption.keys import DataKey
from sluice_storage.encryption.opening import ForgedObjectError, SealedFile, SealedObject, read
from sluice_storage.objects_address import open_backend
from sluice_storage.objects_upload import MissingObjectError
from support.object_stores import KINDS, store_address

KEY = DataKey(bytes(range(32)))
NAME = "exports/a-job/0/0.attempt.ndjson"
# A window is 32 frames: this has a full one, one of two frames, and a last frame that is not full.
CONTENT = random.Random(1).randbytes(33 * FRAME + 100)
BORDERS = sorted({at + near for at in (0, FRAME, 2 * FRAME, 8 * FRAME, 32 * FRAME) for near in (-1, 0, 1)})

near_borders = st.sampled_from([at for at in BORDERS if at >= 0])


@pytest.fixture(params=KINDS)
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    async with store_address(request.param, tmp_path) as address:
        yield open_backend(address)[0]


def object_of(content: bytes, name: str = NAME, key: DataKey = KEY) -> bytes:
    return b"".join(sealed(key, name, content))


async def got(backend: Backend, wanted: SealedObject, start: int = 0, end: int | None = None) -> bytes:
    pieces = read(backend, wanted, start, wanted.size if end is None else end)
    return b"".join([bytes(piece) async for piece in pieces])


def by_the_book(data: bytes, name: str, key: DataKey) -> bytes:
    """Decrypt an object as the format is described, with none of the code that wrote it."""
    assert data[:8] == b"sluice\x00\x01"
    derived = HKDF(SHA256(), 32, data[8:40], b"sluice object " + name.encode()).derive(key.secret)
    frames = [data[at : at + 65_552] for at in range(40, len(data), 65_552)]
    nonces = [n.to_bytes(11, "big") + bytes([n == len(frames) - 1]) for n in range(len(frames))]
    return b"".join(
        AESGCM(derived).decrypt(nonce, frame, name.encode())
        for nonce, frame in zip(nonces, frames, strict=True)
    )


@given(near_borders, st.lists(near_borders, max_size=6), st.integers(0, 70_000))
def test_however_a_content_comes_it_is_encrypted_as_the_format_says(
    size: int, cuts: list[int], more: int
) -> None:
    content = CONTENT[: size + more]
    places = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    sealer = Sealer(KEY, NAME)
    made = [out for one, other in pairwise(places) for out in sealer.add((content[one:other],))]
    whole = b"".join([*made, *sealer.end()])
    assert by_the_book(whole, NAME, KEY) == content
    assert len(whole) == sealed_size(len(content))
    assert by_the_book(object_of(content), NAME, KEY) == content


async def test_many_small_pieces_are_one_content() -> None:
    sealer = Sealer(KEY, NAME)
    lines = [b"%06d\n" % n for n in range(40_000)]
    made = [*sealer.add(lines[:1000]), *sealer.add(memoryview(line) for line in lines[1000:]), *sealer.end()]
    assert by_the_book(b"".join(made), NAME, KEY) == b"".join(lines)


def test_no_two_objects_are_encrypted_alike() -> None:
    bodies = {object_of(b"content", name)[HEAD:] for name in (NAME, NAME, "exports/a-job/0/1") for _ in "ab"}
    assert len(bodies) == 6


@given(near_borders, near_borders, near_borders, st.integers(0, 3))
async def test_any_part_can_be_read(size: int, one: int, other: int, less: int) -> None:
    content = CONTENT[: max(0, size - less)]
    start, end = sorted((min(one, len(content)), min(other, len(content))))
    backend = MemoryStore()
    await obstore.put_async(backend, NAME, object_of(content))
    wanted = SealedObject(NAME, len(content), KEY)
    assert await got(backend, wanted, start, end) == content[start:end]
    assert await got(backend, wanted) == content


async def test_parts_are_read_from_every_store(backend: Backend, tmp_path: Path) -> None:
    await obstore.put_async(backend, NAME, object_of(CONTENT))
    wanted = SealedObject(NAME, len(CONTENT), KEY)
    for start, end in ((0, 1), (0, len(CONTENT)), (FRAME - 1, FRAME + 1), (32 * FRAME, len(CONTENT))):
        assert await got(backend, wanted, start, end) == CONTENT[start:end]


async def test_only_the_frames_that_are_asked_for_are_fetched(backend: Backend) -> None:
    data = bytearray(object_of(CONTENT))
    data[HEAD + 3 * SEALED] ^= 1
    await obstore.put_async(backend, NAME, bytes(data))
    wanted = SealedObject(NAME, len(CONTENT), KEY)
    assert await got(backend, wanted, 0, 3 * FRAME) == CONTENT[: 3 * FRAME]
    assert await got(backend, wanted, 4 * FRAME, 5 * FRAME) == CONTENT[4 * FRAME : 5 * FRAME]
    with pytest.raises(ForgedObjectError):
        await got(backend, wanted, 3 * FRAME, 3 * FRAME + 1)


async def test_what_is_not_there_is_missing_and_not_forged(backend: Backend) -> None:
    with pytest.raises(MissingObjectError):
        await got(backend, SealedObject(NAME, 1, KEY))
    with pytest.raises(MissingObjectError):
        await got(backend, SealedObject(NAME, 3 * FRAME, KEY), 2 * FRAME)


def frames(data: bytes) -> list[bytes]:
    return [data[at : at + SEALED] for at in range(HEAD, len(data), SEALED)]


def flipped(data: bytes) -> bytes:
    at = HEAD + SEALED + 5
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def flipped_at_the_end(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def flipped_in_the_salt(data: bytes) -> bytes:
    return data[:20] + bytes([data[20] ^ 1]) + data[21:]


def swapped(data: bytes) -> bytes:
    first, second, *rest = frames(data)
    return data[:HEAD] + b"".join([second, first, *rest])


def repeated(data: bytes) -> bytes:
    first, _, *rest = frames(data)
    return data[:HEAD] + b"".join([first, first, *rest])


def without_its_last_frame(data: bytes) -> bytes:
    return data[:HEAD] + b"".join(frames(data)[:-1])


def without_a_frame(data: bytes) -> bytes:
    first, _, *rest = frames(data)
    return data[:HEAD] + b"".join([first, *rest])


def with_another_frame(data: bytes) -> bytes:
    return data[:HEAD] + b"".join([*frames(data)[:-1], *frames(data)[-2:]])


def of_another_object(data: bytes) -> bytes:
    return object_of(CONTENT, "exports/a-job/0/1.attempt.ndjson")


def of_another_key(data: bytes) -> bytes:
    return object_of(CONTENT, key=DataKey(bytes(32)))


def of_another_attempt_at_it(data: bytes) -> bytes:
    return data[: HEAD + SEALED] + object_of(CONTENT)[HEAD + SEALED :]


def unencrypted(data: bytes) -> bytes:
    return CONTENT


def cut_in_its_head(data: bytes) -> bytes:
    return data[:10]


def emptied(data: bytes) -> bytes:
    return b""


FORGERIES = (
    flipped,
    flipped_at_the_end,
    flipped_in_the_salt,
    swapped,
    repeated,
    without_its_last_frame,
    without_a_frame,
    with_another_frame,
    of_another_object,
    of_another_key,
    of_another_attempt_at_it,
    unencrypted,
    cut_in_its_head,
    emptied,
)


@contextmanager
def noticed() -> Iterator[None]:
    """Expect that one forged object is counted and logged, and that the log shows none of it."""

    def count() -> float:
        return REGISTRY.get_sample_value("sluice_objects_forged_total", {"of": "exports"}) or 0.0

    before = count()
    with capture_logs() as logs:
        yield
    assert count() == before + 1
    assert [(line["log_level"], line["object"]) for line in logs] == [("error", NAME)]
    assert set(logs[0]) == {"event", "log_level", "object"}


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
async def test_nothing_is_given_that_was_not_written(
    backend: Backend, forge: Callable[[bytes], bytes]
) -> None:
    await obstore.put_async(backend, NAME, forge(object_of(CONTENT)))
    given_out = b""

    async def take() -> None:
        nonlocal given_out
        async for piece in read(backend, SealedObject(NAME, len(CONTENT), KEY), 0, len(CONTENT)):
            given_out += piece

    with noticed(), pytest.raises(ForgedObjectError):
        await take()
    assert CONTENT.startswith(given_out)
    # A last frame that is not its own is noticed when all before it was given; a wrong length at once.
    assert len(given_out) < len(CONTENT)
    assert not given_out or len(forge(object_of(CONTENT))) == sealed_size(len(CONTENT))


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_nothing_is_given_of_a_file_that_was_not_written(
    tmp_path: Path, forge: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "object"
    path.write_bytes(forge(object_of(CONTENT)))
    file = os.open(path, os.O_RDONLY)
    given_out = b""

    def take() -> None:
        nonlocal given_out
        opened = SealedFile(file, SealedObject(NAME, len(CONTENT), KEY))
        while len(given_out) < len(CONTENT):
            given_out += opened.read(len(given_out), len(CONTENT))

    try:
        with noticed(), pytest.raises(ForgedObjectError):
            take()
    finally:
        os.close(file)
    assert CONTENT.startswith(given_out)
    assert len(given_out) < len(CONTENT)


@given(near_borders, near_borders, near_borders)
def test_a_file_is_read_from_anywhere_to_anywhere(size: int, one: int, other: int) -> None:
    content = CONTENT[: size + 1]
    start, end = sorted((min(one, size), min(other, size) + 1))
    file = os.memfd_create("object")
    try:
        os.write(file, object_of(content))
        opened = SealedFile(file, SealedObject(NAME, len(content), KEY))
        found = b""
        while start + len(found) < end:
            found += opened.read(start + len(found), end)
    finally:
        os.close(file)
    assert found == content[start:end]
