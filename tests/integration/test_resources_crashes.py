"""A load that is killed leaves nothing half visible; one of any size takes the same memory."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import psutil
import pytest

from sluice_storage.resources.model import Window
from support.resource_store import Store, lines_of, open_store
from support.stack import Database

PAIRS = 30_000


def paired() -> Iterator[bytes]:
    """Lines of which two each are in one chunk: one without the other is half a chunk."""
    filler = "x" * 300
    for number in range(PAIRS):
        patient = {"resourceType": "Patient", "id": f"p{number}", "name": [{"text": filler}]}
        yield lines_of(patient, {"resourceType": "Basic", "id": f"p{number}", "code": {"text": filler}})


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    async with open_store(database) as opened:
        yield opened


async def loading(database: Database, folder: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sluice_storage.resources.load", str(folder)),
        env={**os.environ, "SLUICE_POSTGRES": database.dsn_for("loader")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def begun(store: Store, process: asyncio.subprocess.Process, batches: int) -> None:
    """Wait until the load has begun so many batches, or has ended."""
    before = await store.owner.fetchval("SELECT count(*) FROM fhir.batches")
    while True:
        now = await store.owner.fetchval("SELECT count(*) FROM fhir.batches")
        if process.returncode is not None or now >= before + batches:
            return
        await asyncio.sleep(0.002)


async def consistent(store: Store) -> int:
    """Check that a snapshot has each chunk wholly or not at all; count its patients."""
    window = Window(await store.planner.snapshot(wait=0))
    found = await store.all_in(window)
    patients = {key.partition("/")[2] for key in found if key.startswith("Patient/")}
    basics = {key.partition("/")[2] for key in found if key.startswith("Basic/")}
    # Chunks end after 4 MB or 4,000 lines, which may be between the two of a pair.
    assert len(patients ^ basics) <= PAIRS * 700 // 4_000_000 + 2
    totals = await store.planner.types(window)
    assert {type_: total.resources for type_, total in totals.items()} == {
        type_: count for type_, count in (("Patient", len(patients)), ("Basic", len(basics))) if count
    }
    assert sum(total.bytes for total in totals.values()) == sum(
        [
            size
            for row in await store.owner.fetch(
                "SELECT size FROM fhir.resources WHERE batch <= $1 AND NOT deleted", window.snapshot.batch
            )
            for size in row
        ]
    )
    return len(patients)


async def test_a_load_that_is_killed_is_consistent_and_the_next_one_completes_it(
    database: Database, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "all.ndjson").write_bytes(b"".join(paired()))
    random = Random(7)
    killed = 0
    for _ in range(20):  # a load that has ended before it could be killed does not count
        process = await loading(database, tmp_path)
        if killed < 4:
            await begun(store, process, random.randint(1, 3))
            await asyncio.sleep(random.random() * 0.1)
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                killed += 1
        out, _ = await process.communicate()
        await consistent(store)
        if killed == 4 and process.returncode != -signal.SIGKILL:
            break
    assert killed == 4
    assert process.returncode == 0, out.decode()
    # What the killed ones had begun does not hold the time back for ever.
    await store.readers.execute("SELECT fhir.take_snapshot(NULL, '0 s')")
    assert await consistent(store) == PAIRS
    versions = await store.owner.fetchval("SELECT max(version) FROM fhir.resources")
    assert versions == 1


async def test_memory_does_not_grow_with_the_file(database: Database, store: Store, tmp_path: Path) -> None:
    lines = b"".join(paired())
    with (tmp_path / "all.ndjson").open("wb") as file:
        for number in range(6):
            file.write(lines.replace(b'"id":"p', b'"id":"%d-' % number))
    process = await loading(database, tmp_path)
    peak = 0
    while process.returncode is None:
        try:
            peak = max(peak, psutil.Process(process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            break
        await asyncio.sleep(0.02)
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    assert await store.owner.fetchval("SELECT count(*) FROM fhir.resources") == 12 * PAIRS
    assert peak < 200 * 1024 * 1024


async def test_a_resource_of_sixty_megabytes_goes_in_and_out(store: Store) -> None:
    size = 60_000_000

    async def pieces() -> AsyncIterator[bytes]:
        yield lines_of({"resourceType": "Patient", "id": "before"})
        yield b'{"resourceType":"Binary","id":"large","data":"'
        for _ in range(60):
            yield b"A" * (size // 60)
        yield b'"}\n'
        yield b'{"resourceType":"Binary","id":"over","data":"'
        for _ in range(70):
            yield b"A" * (size // 60)
        yield b'"}\n'
        yield lines_of(*({"resourceType": "Binary", "id": f"b{n}", "data": "AAAA"} for n in range(100)))

    outcome = await store.loader.load(pieces(), "f")
    assert [(issue.line, issue.problem.value) for issue in outcome.issues] == [(3, "too_long")]
    assert outcome.created == 102
    window = await store.window()
    (part,) = await store.planner.parts(["Binary"], window)
    sizes = [(len(chunk.data), chunk.count) async for chunk in store.reader.chunks(part, window)]
    assert max(sizes)[0] > size
    assert sum(count for _, count in sizes) == 101
