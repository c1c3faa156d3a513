"""Files are ended at their limits, blocks are headed in every file they are in, and nothing is lost."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_contracts.exports import FileKind
from sluice_exporter.plan import SealedFile
from sluice_exporter.sink import FileLimits, Piece, Sink
from sluice_storage.encryption.keys import DataKey
from sluice_storage.encryption.opening import SealedObject
from sluice_storage.exports.objects import ExportObjects

KEY = DataKey(bytes(32))
LINE = b"0123456789abcde\n"


def sink_over(objects: ExportObjects, limits: FileLimits, type_: str | None = "Patient") -> Sink:
    return Sink(objects, KEY, "job", 0, "attempt", kind=FileKind.OUTPUT, type_=type_, limits=limits)


async def text(objects: ExportObjects, file: SealedFile) -> bytes:
    wanted = SealedObject(file.key, file.size, KEY)
    return b"".join([piece async for piece in objects.read(wanted, 0, file.size)])


async def written(
    limits: FileLimits, pieces: Sequence[Piece], *, in_thread: bool = False
) -> tuple[list[SealedFile], list[bytes], ExportObjects]:
    objects = ExportObjects.from_url("memory:")
    sink = sink_over(objects, limits)
    for piece in pieces:
        await (asyncio.to_thread(sink.write_here, piece) if in_thread else sink.write(piece))
    files = await sink.finish()
    return files, [await text(objects, file) for file in files], objects


counts = st.lists(st.integers(1, 9), max_size=30)


@given(counts, st.integers(1, 20), st.integers(1, 400), st.booleans())
async def test_files_together_are_all_that_was_written_each_with_its_own_count_size_and_hash(
    sizes: list[int], most: int, size: int, in_thread: bool
) -> None:
    pieces = [Piece(LINE * count, count) for count in sizes]
    files, texts, _ = await written(FileLimits(most, size), pieces, in_thread=in_thread)
    assert b"".join(texts) == LINE * sum(sizes)
    for file, content in zip(files, texts, strict=True):
        assert (file.count, file.size) == (content.count(b"\n"), len(content))
        assert file.sha256 == hashlib.sha256(content).digest()
        assert not file.continues
        # Over the limit is only what is one piece, which is not cut.
        assert (file.count <= most and file.size <= size) or file.count in sizes


async def test_what_wrote_nothing_has_no_files() -> None:
    files, _, objects = await written(FileLimits(1, 1), [])
    assert (files, await objects.keys("job")) == ([], [])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=30), st.integers(1, 25))
async def test_every_block_is_headed_where_it_begins_and_in_every_file_it_goes_on_in(
    drawn: list[tuple[int, int]], most: int
) -> None:
    blocks = [list(group) for _, group in groupby(drawn, key=lambda each: each[0])]
    pieces = [
        Piece(LINE * count, count, b"header %d\n" % number)
        for number, block in enumerate(blocks)
        for _, count in block
    ]
    files, texts, _ = await written(FileLimits(most, 10**9), pieces)
    owner: bytes = b""
    found: dict[bytes, int] = {}
    for file, content in zip(files, texts, strict=True):
        lines = content.splitlines(keepends=True)
        assert lines[0].startswith(b"header")
        for line in lines:
            if line.startswith(b"header"):
                owner = line
            else:
                found[owner] = found.get(owner, 0) + 1
        assert file.count == len(lines)
    assert found == {
        b"header %d\n" % number: sum(count for _, count in block) for number, block in enumerate(blocks)
    }
    for file, content, after in zip(files, texts, [*texts[1:], b""], strict=False):
        headers = [line for line in content.splitlines(keepends=True) if line.startswith(b"header")]
        assert file.continues == (after.startswith(headers[-1]))
        # A block goes on elsewhere only if it has a file of its own.
        assert not file.continues or len(headers) == 1


@pytest.mark.parametrize("pieces", [1, 5])
async def test_an_attempt_that_is_given_up_leaves_nothing(pieces: int) -> None:
    objects = ExportObjects.from_url("memory:")
    sink = sink_over(objects, FileLimits(2, 10**9))
    for _ in range(pieces):
        await sink.write(Piece(LINE * 2, 2))
    await sink.abandon()
    assert await objects.keys("job") == []
