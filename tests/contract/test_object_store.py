"""Every object store keeps the same promises: a content is there whole under its hash, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sluice_storage.objects import MissingObjectError, ObjectStore, ObjectStoreError, Stored, key
from sluice_storage.objects_upload import PART
from support.object_stores import KINDS, store_address


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    async with store_address(request.param, tmp_path) as address:
        yield ObjectStore.from_url(address)


def stored_of(data: bytes) -> Stored:
    return Stored(hashlib.sha256(data).digest(), len(data))


async def pieces(data: bytes, size: int = 64 * 1024) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
        await asyncio.sleep(0)


async def whole(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def staged(store: ObjectStore) -> int:
    """Count what lies under `staging/`, by sweeping it all away."""
    return await store.sweep_staging(datetime.now(UTC) + timedelta(days=1))


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 1024 * 1024 + 1, PART, 2 * PART + 12345])
async def test_what_is_written_is_read_back_under_its_hash(store: ObjectStore, size: int) -> None:
    data = os.urandom(size)
    stored = await store.write(pieces(data))
    assert stored == stored_of(data)
    assert await store.exists(stored.sha256)
    assert await whole(store.read(stored.sha256)) == data
    assert await staged(store) == 0


async def test_writing_the_same_content_again_changes_nothing(store: ObjectStore) -> None:
    for data in (b"small", os.urandom(2 * 1024 * 1024)):
        results = await asyncio.gather(*(store.write(pieces(data)) for _ in range(5)), store.put(data))
        assert set(results) == {stored_of(data)}
        assert await whole(store.read(stored_of(data).sha256)) == data
    assert await staged(store) == 0


async def test_a_content_larger_than_s3_copies_is_moved_all_the_same(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice_storage.objects._COPY_LIMIT", 1)
    data = os.urandom(2 * PART + 7)
    stored = await store.write(pieces(data))
    assert stored == stored_of(data)
    assert await whole(store.read(stored.sha256)) == data
    assert await staged(store) == 0


async def test_any_range_can_be_read(store: ObjectStore) -> None:
    data = os.urandom(5_000_000)
    sha256 = (await store.put(data)).sha256
    for start, end in ((0, 1), (0, None), (4_999_999, None), (123, 4_654_321), (5, 5), (0, 5_000_000)):
        assert await whole(store.read(sha256, start, end)) == data[start:end]
    with pytest.raises(ValueError, match="no such range"):
        await whole(store.read(sha256, 5, 4))


async def test_what_is_removed_is_gone_and_may_be_removed_again(store: ObjectStore) -> None:
    stored = await store.put(b"content")
    await store.remove(stored.sha256)
    await store.remove(stored.sha256)
    assert not await store.exists(stored.sha256)
    with pytest.raises(MissingObjectError):
        await whole(store.read(stored.sha256))


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
    assert not await store.exists(stored_of(data).sha256)
    assert await staged(store) == 0


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


async def test_contents_are_listed_by_the_first_byte_of_their_hash(store: ObjectStore) -> None:
    contents = [await store.put(b"%d" % number) for number in range(40)]
    listed = {sha256 for shard in range(256) async for batch in store.listed(shard) for sha256, _ in batch}
    assert listed == {stored.sha256 for stored in contents}
    first = contents[0].sha256
    assert first in {sha256 async for batch in store.listed(first[0]) for sha256, _ in batch}
    assert first not in {sha256 async for batch in store.listed((first[0] + 1) % 256) for sha256, _ in batch}


async def test_what_a_killed_process_left_in_a_folder_is_swept_after_its_time(tmp_path: Path) -> None:
    store = ObjectStore.from_url(f"file://{tmp_path}")
    await store.write(pieces(os.urandom(2 * PART)))
    # A local upload that was never finished is a file that the backend itself hides.
    left = tmp_path / "staging" / "0123#1"
    left.write_bytes(b"half")
    assert await store.sweep_staging(datetime.now(UTC) - timedelta(days=1)) == 0
    assert left.exists()
    assert await staged(store) == 1
    assert not left.exists()


async def test_a_failing_backend_is_named_without_the_key(tmp_path: Path) -> None:
    store = ObjectStore.from_url(f"file://{tmp_path}")
    sha256 = stored_of(b"x").sha256
    (tmp_path / "sha256").write_text("a file where a folder is needed")
    with pytest.raises(ObjectStoreError) as failed:
        await store.put(b"x")
    assert sha256.hex()[2:] not in str(failed.value)
    assert key(sha256) not in str(failed.value)
    with pytest.raises(ObjectStoreError):
        await store.write(pieces(os.urandom(2 * PART)))
