"""Every object store keeps the same promises: a content is there whole and encrypted, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
import pytest

from sluice_storage.buffers import Buffer
from sluice_storage.encryption.keys import LostKeyError
from sluice_storage.encryption.opening import ForgedObjectError
from sluice_storage.objects import (
    Content,
    MissingObjectError,
    ObjectStore,
    ObjectStoreError,
    name_of,
    plain_name,
)
from sluice_storage.objects_upload import PART
from support.object_stores import KEYS, KINDS, store_address
from support.s3_fake import fake_s3


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    async with store_address(request.param, tmp_path) as address:
        yield ObjectStore.from_url(address, KEYS)


def facts(content: Content) -> tuple[bytes, int]:
    return content.sha256, content.size


def facts_of(data: bytes) -> tuple[bytes, int]:
    return hashlib.sha256(data).digest(), len(data)


def name(content: Content) -> str:
    assert content.object is not None
    return name_of(content.object)


async def names(store: ObjectStore) -> set[str]:
    return {found for shard in range(256) async for batch in store.listed(shard) for found, _ in batch}


async def pieces(data: bytes, size: int = 64 * 1024) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
        await asyncio.sleep(0)


async def whole(chunks: AsyncIterator[Buffer]) -> bytes:
    return b"".join([bytes(chunk) async for chunk in chunks])


async def staged(store: ObjectStore) -> int:
    """Count what lies under `staging/`, by sweeping it all away."""
    return await store.sweep_staging(datetime.now(UTC) + timedelta(days=1))


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 1024 * 1024 + 1, PART, 2 * PART + 12345])
async def test_what_is_written_is_read_back_and_is_encrypted(store: ObjectStore, size: int) -> None:
    data = os.urandom(size)
    content = await store.write(pieces(data))
    assert facts(content) == facts_of(data)
    assert await whole(store.read(content)) == data
    assert await names(store) == {name(content)}
    assert await staged(store) == 0
    kept = await obstore.get_async(store._backend, name(content))
    assert size < 16 or data[:16] not in bytes(await kept.bytes_async())
    assert content.sha256.hex()[:12] not in name(content)


async def test_writing_the_same_content_again_makes_another_object_under_another_key(
    store: ObjectStore,
) -> None:
    for data in (b"small", os.urandom(2 * 1024 * 1024)):
        results = await asyncio.gather(*(store.write(pieces(data)) for _ in range(5)), store.put(data))
        assert {facts(content) for content in results} == {facts_of(data)}
        assert len({content.object for content in results}) == len({c.data_key for c in results}) == 6
        for content in results:
            assert await whole(store.read(content)) == data
            await store.remove(name(content))
    assert await names(store) == set()


async def test_any_range_can_be_read(store: ObjectStore) -> None:
    data = os.urandom(5_000_000)
    content = await store.put(data)
    for start, end in ((0, 1), (0, None), (4_999_999, None), (123, 4_654_321), (5, 5), (0, 5_000_000)):
        assert await whole(store.read(content, start, end)) == data[start:end]
    with pytest.raises(ValueError, match="no such range"):
        await whole(store.read(content, 5, 4))


async def test_a_content_from_before_contents_were_encrypted_is_read_as_it_is(store: ObjectStore) -> None:
    data = os.urandom(3_000_000)
    old = Content(*facts_of(data))
    await obstore.put_async(store._backend, plain_name(old.sha256), data)
    for start, end in ((0, None), (1, 2), (2_999_999, None), (7, 7), (0, 2_500_000)):
        assert await whole(store.read(old, start, end)) == data[start:end]
    assert await names(store) == {plain_name(old.sha256)}
    await store.remove(plain_name(old.sha256))
    with pytest.raises(MissingObjectError):
        await whole(store.read(old))


async def test_what_is_removed_or_whose_key_is_destroyed_is_gone(store: ObjectStore) -> None:
    content = await store.put(b"content")
    with pytest.raises(MissingObjectError):
        await whole(store.read(replace(content, data_key=None)))
    for _ in range(2):
        await store.remove(name(content))
    assert await names(store) == set()
    with pytest.raises(MissingObjectError):
        await whole(store.read(content))


async def test_a_content_opens_with_its_own_key_and_in_its_own_place_only(store: ObjectStore) -> None:
    one, other = await store.put(b"one"), await store.put(b"two")
    with pytest.raises(LostKeyError):
        await whole(store.read(replace(one, data_key=other.data_key)))
    moved = await obstore.get_async(store._backend, name(other))
    await obstore.put_async(store._backend, name(one), await moved.bytes_async())
    with pytest.raises(ForgedObjectError):
        await whole(store.read(one))
    assert await whole(store.read(other)) == b"two"


async def test_the_store_can_be_asked_whether_it_answers(store: ObjectStore) -> None:
    await store.reach()


class _SourceError(Exception):
    pass


@pytest.mark.parametrize("size", [100, 1024 * 1024 + 100, 3 * PART])
async def test_a_content_that_breaks_off_leaves_nothing(store: ObjectStore, size: int) -> None:
    closed = False
    data = os.urandom(size)

    async def breaking() -> AsyncGenerator[bytes, None]:
        nonlocal closed
        try:
            async for piece in pieces(data):
                yield piece
            raise _SourceError
        finally:
            closed = True

    with pytest.raises(_SourceError):
        await store.write(breaking())
    assert closed
    assert await names(store) == set()


async def test_a_write_that_is_cancelled_leaves_nothing_and_closes_its_content(store: ObjectStore) -> None:
    began, closed = asyncio.Event(), False

    async def endless() -> AsyncGenerator[bytes, None]:
        nonlocal closed
        try:
            for count in range(10**9):
                yield bytes(100_000)
                await asyncio.sleep(0)
                if count == 80:
                    began.set()
                    await asyncio.sleep(3600)
        finally:
            closed = True

    task = asyncio.create_task(store.write(endless()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed
    assert await staged(store) == 0


async def test_no_more_large_contents_are_under_way_than_allowed(store: ObjectStore) -> None:
    gate, most, now = asyncio.Semaphore(2), 0, 0

    async def counted(seed: int) -> AsyncGenerator[bytes, None]:
        nonlocal most, now
        yield bytes([seed]) * (1024 * 1024)
        yield b"x"  # with this one it does not fit in memory any more
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1

    await asyncio.gather(*(store.write(counted(seed), large=gate) for seed in range(6)))
    assert most == 2


async def test_objects_are_listed_by_the_first_byte_of_their_names(store: ObjectStore) -> None:
    contents = [await store.put(b"%d" % number) for number in range(40)]
    assert await names(store) == {name(content) for content in contents}
    assert contents[0].object is not None
    first = contents[0].object.bytes[0]
    assert name(contents[0]) in {found async for batch in store.listed(first) for found, _ in batch}
    other = (first + 1) % 256
    assert name(contents[0]) not in {found async for batch in store.listed(other) for found, _ in batch}


async def test_what_a_killed_process_left_half_written_in_a_folder_is_listed(tmp_path: Path) -> None:
    store = ObjectStore.from_url(f"file://{tmp_path}", KEYS)
    left = tmp_path / "contents" / "ab" / "0123"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert await names(store) == {"contents/ab/0123"}


async def test_what_a_killed_process_left_in_a_folder_is_swept_after_its_time(tmp_path: Path) -> None:
    store = ObjectStore.from_url(f"file://{tmp_path}", KEYS)
    # A local upload that was never finished is a file that the backend itself hides.
    left = tmp_path / "staging" / "0123#1"
    left.parent.mkdir()
    left.write_bytes(b"half")
    assert await store.sweep_staging(datetime.now(UTC) - timedelta(days=1)) == 0
    assert left.exists()
    assert await staged(store) == 1
    assert not left.exists()


async def test_a_failing_backend_is_named_without_the_key(tmp_path: Path) -> None:
    store = ObjectStore.from_url(f"file://{tmp_path}", KEYS)
    (tmp_path / "contents").write_text("a file where a folder is needed")
    with pytest.raises(ObjectStoreError) as failed:
        await store.put(b"x")
    assert "contents" not in str(failed.value)
    with pytest.raises(ObjectStoreError):
        await store.write(pieces(os.urandom(2 * PART)))


async def test_the_environment_may_say_where_s3_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_s3() as (_, endpoint):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        store = ObjectStore.from_url("s3://bucket/some/prefix", KEYS)
        assert await whole(store.read(await store.put(b"content"))) == b"content"
