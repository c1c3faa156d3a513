"""Attaching takes effect once per item, whoever else writes at the same time."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from sluice_contracts.commands import ConflictResolution as Rule
from sluice_contracts.events import FileOutcome as Outcome
from sluice_storage.catalogue.attachment import Attached, Refusal
from sluice_storage.catalogue.model import CatalogueError, Listing, NotFoundError
from sluice_storage.objects import MissingObjectError, ObjectStore, ObjectStoreError, name_of, plain_name
from sluice_storage.removals import HOLD
from support.catalogue import Bench, open_bench
from support.object_stores import KEYS
from support.stack import Database


@pytest.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    async with open_bench(database) as opened:
        yield opened


async def names(bench: Bench, folder: str, owner: str = "ada") -> list[str]:
    page = await bench.catalogue.entries.list(owner, Listing(folder, limit=10_000))
    assert page.total == len(page.items)
    return [entry.name for entry in page.items]


async def count(bench: Bench, what: str) -> int:
    found = await bench.pool.fetchval(f"SELECT count(*) FROM files.{what}")  # noqa: S608
    return int(found)


async def test_a_file_carries_what_its_item_gave_it(bench: Bench) -> None:
    project, job = await bench.project("ada"), await bench.job()
    wanted = await bench.attachment(
        job, 3, project.root, "a.txt", b"hello", metadata={"k": [1.5, None]}, tags=("x", "y")
    )
    (done,) = await bench.catalogue.attach([replace(wanted, others=2)])
    assert isinstance(done, Attached)
    assert (done.outcome, done.size, done.others) == (Outcome.CREATED, 5, 2)
    entry = await bench.catalogue.entries.get("ada", done.entry)
    assert (entry.name, entry.size, entry.sha256) == ("a.txt", 5, wanted.stored.sha256)
    assert (entry.metadata, entry.tags, entry.content_type) == ({"k": [1.5, None]}, ("x", "y"), "text/plain")
    assert entry.origin is not None
    assert (entry.origin.job, entry.origin.item, entry.origin.source) == (job, 3, "source")
    assert entry.project == project.id


async def test_a_second_delivery_changes_nothing_and_hears_the_same(bench: Bench) -> None:
    project, job = await bench.project("ada"), await bench.job(20)
    batch = [
        await bench.attachment(job, item, project.root, f"f{item % 7}", b"%d" % item, rule)
        for item, rule in enumerate([Rule.SKIP, Rule.AUTORENAME, Rule.OVERWRITE] * 6)
    ]
    first = await bench.catalogue.attach(batch)
    before = await bench.pool.fetch("SELECT * FROM files.entries ORDER BY id")
    assert await bench.catalogue.attach(batch[::-1]) == first[::-1]
    assert await bench.catalogue.attach([*batch, *batch]) == [*first, *first]
    assert await bench.pool.fetch("SELECT * FROM files.entries ORDER BY id") == before
    # Even when the file is gone since: what took effect does not take effect again.
    assert isinstance(first[0], Attached)
    await bench.catalogue.remove.entry("ada", first[0].entry)
    assert await bench.catalogue.attach(batch[:1]) == first[:1]
    with pytest.raises(NotFoundError):
        await bench.catalogue.entries.get("ada", first[0].entry)


async def test_one_item_in_many_hands_at_once_takes_effect_once(bench: Bench) -> None:
    project, job = await bench.project("ada"), await bench.job(8)
    batch = [await bench.attachment(job, item, project.root, "same", b"x") for item in range(8)]
    random.seed(1)
    calls = [bench.catalogue.attach(random.sample(batch, 5)) for _ in range(40)]
    await asyncio.gather(*calls)
    final = await bench.catalogue.attach(batch)
    assert len({done.entry for done in final if isinstance(done, Attached)}) == 8
    assert await names(bench, project.root) == sorted(["same", *(f"_{n}_same" for n in range(1, 8))])


async def test_overwriting_replaces_the_file_and_its_content(bench: Bench) -> None:
    project = await bench.project("ada")
    old = await bench.file(project, "a.txt", b"old")
    old_hash = (await bench.catalogue.entries.get("ada", old)).sha256 or b""
    wanted = await bench.attachment(await bench.job(), 0, project.root, "a.txt", b"new", Rule.OVERWRITE)
    (done,) = await bench.catalogue.attach([wanted])
    assert isinstance(done, Attached)
    assert done.outcome is Outcome.REPLACED
    assert done.entry != old
    with pytest.raises(NotFoundError):
        await bench.catalogue.entries.get("ada", old)
    assert await bench.catalogue.blobs.sweep() == 1
    assert not await bench.has(old_hash)
    assert await bench.has(wanted.stored.sha256)


async def test_what_a_later_item_of_the_batch_replaces_at_once_leaves_no_row(bench: Bench) -> None:
    project = await bench.project("ada")
    jobs = sorted([await bench.job(), await bench.job()])
    batch = [await bench.attachment(job, 0, project.root, "a", job.encode(), Rule.OVERWRITE) for job in jobs]
    done = await bench.catalogue.attach(batch)
    assert [each.outcome for each in done if isinstance(each, Attached)] == [
        Outcome.CREATED,
        Outcome.REPLACED,
    ]
    assert await names(bench, project.root) == ["a"]
    assert await bench.catalogue.attach(batch) == done
    await bench.catalogue.blobs.sweep()
    assert [await bench.has(wanted.stored.sha256) for wanted in batch] == [False, True]


async def test_a_skipped_content_does_not_stay_in_the_store(bench: Bench) -> None:
    project = await bench.project("ada")
    there = await bench.file(project, "a", b"first")
    wanted = await bench.attachment(await bench.job(), 0, project.root, "a", b"second")
    assert await bench.catalogue.attach([wanted]) == [Attached(Outcome.SKIPPED, there, 6, 0)]
    assert len(await bench.stored()) == 1
    assert not await bench.has(wanted.stored.sha256)


async def test_a_cancelled_job_leaves_no_file_and_no_content(bench: Bench) -> None:
    project, job = await bench.project("ada"), await bench.job()
    other = await bench.job()
    await bench.fetcher.execute("UPDATE documents.jobs SET cancelled_at = now() WHERE job = $1", job)
    batch = [
        await bench.attachment(job, 0, project.root, "a", b"cancelled"),
        await bench.attachment(other, 0, project.root, "b", b"kept"),
    ]
    refused, kept = await bench.catalogue.attach(batch)
    assert refused is Refusal.CANCELLED
    assert isinstance(kept, Attached)
    assert await names(bench, project.root) == ["b"]
    await bench.catalogue.blobs.sweep()
    assert not await bench.has(batch[0].stored.sha256)


async def test_a_cancellation_waits_for_the_files_that_are_landing(bench: Bench) -> None:
    project, job = await bench.project("ada"), await bench.job()
    await bench.file(project, "other")
    wanted = await bench.attachment(job, 0, project.root, "a")
    async with bench.pool.acquire() as holder:
        held = holder.transaction()
        await held.start()
        # Whoever attaches the same content waits for its row, in the middle of the transaction.
        await holder.execute("SELECT FROM files.blobs FOR UPDATE")
        landing = asyncio.create_task(bench.catalogue.attach([wanted]))
        async with asyncio.timeout(120):
            while not await bench.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # it waits in the database
        cancelling = asyncio.create_task(
            bench.fetcher.execute("UPDATE documents.jobs SET cancelled_at = now() WHERE job = $1", job)
        )
        done, _ = await asyncio.wait([cancelling], timeout=0.3)
        assert not done
        await held.commit()
    (landed,) = await landing
    await cancelling
    assert isinstance(landed, Attached)
    assert await bench.catalogue.attach([wanted]) == [landed]


async def test_a_destination_that_is_gone_is_told_and_the_others_land(bench: Bench) -> None:
    project, gone = await bench.project("ada"), await bench.project("ada")
    folder = await bench.catalogue.entries.create_folder("ada", project.root, "sub")
    await bench.catalogue.remove.project("ada", gone.id)
    await bench.catalogue.remove.entry("ada", folder.id)
    file = await bench.file(project, "file")
    job = await bench.job(4)
    places = [gone.root, folder.id, file, project.root]
    batch = [await bench.attachment(job, item, place, "a") for item, place in enumerate(places)]
    done = await bench.catalogue.attach(batch)
    assert done[:3] == [Refusal.DESTINATION_GONE] * 3
    assert isinstance(done[3], Attached)


async def test_thousands_of_one_name_are_numbered_without_trying_each_number(bench: Bench) -> None:
    project, job = await bench.project("ada"), await bench.job(600)
    for start in range(0, 600, 100):
        batch = [
            await bench.attachment(job, item, project.root, "doc.pdf") for item in range(start, start + 100)
        ]
        await bench.catalogue.attach(batch)
    expected = {"doc.pdf", *(f"_{number}_doc.pdf" for number in range(1, 600))}
    assert set(await names(bench, project.root)) == expected


async def test_a_content_that_was_removed_meanwhile_comes_with_its_own_object(bench: Bench) -> None:
    project = await bench.project("ada")
    only = await bench.file(project, "only", b"shared")
    wanted = await bench.attachment(await bench.job(), 0, project.root, "late", b"shared")
    await bench.catalogue.remove.entry("ada", only)
    (landed,) = await bench.catalogue.attach([wanted])
    assert isinstance(landed, Attached)
    assert await bench.catalogue.blobs.sweep() == 0
    assert await bench.has(wanted.stored.sha256)
    assert await content_of(bench, landed.entry) == b"shared"


async def content_of(bench: Bench, entry: str) -> bytes:
    opened = await bench.catalogue.entries.open("ada", entry)
    return b"".join([bytes(chunk) async for chunk in opened.chunks])


async def test_a_content_that_is_there_already_stays_in_its_object_and_the_new_one_goes(bench: Bench) -> None:
    project, job = await bench.project("ada"), await bench.job(3)
    await bench.file(project, "first", b"shared")
    (before,) = await bench.stored()
    batch = [await bench.attachment(job, item, project.root, f"{item}", b"shared") for item in range(3)]
    done = await bench.catalogue.attach(batch)
    assert await bench.stored() == {before}
    # An answer that was not heard is asked for again: what it had named stays.
    assert await bench.catalogue.attach(batch) == done
    assert await bench.stored() == {before}
    for each in done:
        assert isinstance(each, Attached)
        assert await content_of(bench, each.entry) == b"shared"


async def test_an_object_that_a_row_names_is_not_taken_for_a_spare_one(bench: Bench) -> None:
    project = await bench.project("ada")
    wanted = await bench.attachment(await bench.job(), 0, project.root, "a", b"own")
    done = await bench.catalogue.attach([wanted])
    assert await bench.catalogue.attach([wanted, wanted]) == [*done, *done]
    assert await bench.has(wanted.stored.sha256)


async def test_what_is_deleted_cannot_be_decrypted_from_a_copy_of_the_store(bench: Bench) -> None:
    project = await bench.project("ada")
    wanted = await bench.attachment(await bench.job(), 0, project.root, "a", b"content")
    assert wanted.stored.data_key is not None
    (done,) = await bench.catalogue.attach([wanted])
    assert isinstance(done, Attached)
    bench.catalogue.remove._blobs = cast("Any", _Away())
    await bench.catalogue.remove.entry("ada", done.entry)
    # The object is still there; its key went with its last file, in one transaction.
    assert await bench.has(wanted.stored.sha256)
    rows = await bench.pool.fetch("SELECT b::text AS row FROM files.blobs b")
    assert not any(wanted.stored.data_key.hex() in row["row"] for row in rows)
    with pytest.raises(MissingObjectError):
        _ = [piece async for piece in bench.objects.read(dataclasses.replace(wanted.stored, data_key=None))]
    other = await bench.objects.put(b"another")
    with pytest.raises(ObjectStoreError):
        _ = [
            piece
            async for piece in bench.objects.read(dataclasses.replace(wanted.stored, data_key=other.data_key))
        ]


class _Away:
    async def purge(self, hashes: list[bytes]) -> int:
        raise ObjectStoreError("away")


async def test_a_content_from_before_contents_were_encrypted_is_read_and_goes_like_any_other(
    tmp_path: Path, database: Database
) -> None:
    async with open_bench(database, ObjectStore.from_url(tmp_path.as_uri(), KEYS)) as bench:
        project = await bench.project("ada")
        file = await bench.file(project, "old", b"plain")
        sha256 = hashlib.sha256(b"plain").digest()
        path = tmp_path / plain_name(sha256)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"plain")
        await bench.pool.execute("UPDATE files.blobs SET object = NULL, data_key = NULL")
        assert await content_of(bench, file) == b"plain"
        again = await bench.file(project, "again", b"plain")
        assert await content_of(bench, again) == b"plain"
        await bench.catalogue.remove.project("ada", project.id)
        assert not path.exists()


async def test_a_content_that_comes_back_before_it_was_removed_stays(bench: Bench) -> None:
    project = await bench.project("ada")
    skipped = await bench.attachment(await bench.job(), 0, "0" * 24, "a", b"marked")
    assert await bench.catalogue.attach([skipped]) == [Refusal.DESTINATION_GONE]
    wanted = await bench.attachment(await bench.job(), 0, project.root, "a", b"marked")
    (landed,) = await bench.catalogue.attach([wanted])
    assert isinstance(landed, Attached)
    assert await bench.catalogue.blobs.sweep() == 0
    assert await bench.has(wanted.stored.sha256)


async def test_no_file_ever_lacks_its_content_while_files_of_it_come_and_go(bench: Bench) -> None:
    """Many attach, delete and sweep the same few contents; whatever is listed can be read, always."""
    project = await bench.project("ada")
    contents = [b"one", b"two", b"three"]
    numbers = random.Random(5)

    async def come_and_go(worker: int) -> None:
        for turn in range(12):
            content = numbers.choice(contents)
            wanted = await bench.attachment(
                await bench.job(), 0, project.root, f"w{worker}t{turn}", content, Rule.AUTORENAME
            )
            (done,) = await bench.catalogue.attach([wanted])
            assert isinstance(done, Attached)
            opened = await bench.catalogue.entries.open("ada", done.entry)
            assert b"".join([chunk async for chunk in opened.chunks]) == content
            if numbers.random() < 0.8:
                await bench.catalogue.remove.entry("ada", done.entry)

    async def sweep() -> None:
        while True:
            await bench.catalogue.blobs.sweep()
            await asyncio.sleep(0)

    sweeping = asyncio.create_task(sweep())
    await asyncio.gather(*(come_and_go(worker) for worker in range(6)))
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    page = await bench.catalogue.entries.list("ada", Listing(project.root, limit=1000))
    for entry in page.items:
        assert await bench.has(entry.sha256 or b"")
    await bench.catalogue.remove.project("ada", project.id)
    await bench.catalogue.blobs.sweep()
    # Objects whose row got another one while they were still there.
    blobs, today = bench.catalogue.blobs, bench.catalogue.blobs._now
    blobs._now = lambda: today() + timedelta(days=2)
    for shard in range(256):
        await blobs.remove_orphans(shard)
    assert await bench.stored() == set()


async def test_a_content_whose_attaching_never_ended_is_removed_a_day_later(bench: Bench) -> None:
    project = await bench.project("ada")
    kept = await bench.file(project, "kept", b"kept")
    orphan = await bench.objects.put(b"orphan")
    blobs = bench.catalogue.blobs
    today = blobs._now

    async def remove_all() -> int:
        return sum([await blobs.remove_orphans(shard) for shard in range(256)])

    assert orphan.object is not None
    assert await remove_all() == 0
    blobs._now = lambda: today() + timedelta(days=2)
    async with bench.pool.acquire() as backup:
        await backup.execute(HOLD)
        assert await remove_all() == 0
        await backup.execute("SELECT pg_advisory_unlock_all()")
    assert await remove_all() == 1
    assert await remove_all() == 0
    assert name_of(orphan.object) not in await bench.stored()
    entry = await bench.catalogue.entries.get("ada", kept)
    assert await bench.has(entry.sha256 or b"")
    blobs._now = lambda: today() + timedelta(days=4)
    await blobs.sweep()
    assert await count(bench, "blobs") == 1


@pytest.mark.parametrize("seed", range(4))
async def test_writers_in_every_order_never_wait_for_each_other_for_ever(bench: Bench, seed: int) -> None:
    """Attaching, overwriting, moving, renaming and deleting in overlapping folders: no deadlock."""
    numbers = random.Random(seed)
    projects = [await bench.project("ada") for _ in range(2)]
    catalogue = bench.catalogue
    folders: dict[str, list[str]] = {
        project.id: [
            project.root,
            *[(await catalogue.entries.create_folder("ada", project.root, f"d{n}")).id for n in range(3)],
        ]
        for project in projects
    }
    everywhere = [folder for each in folders.values() for folder in each]

    async def attach() -> None:
        job = await bench.job(12)
        template = await bench.attachment(job, 0, projects[0].root, "x")
        batch = [
            replace(
                template,
                item=item,
                folder=numbers.choice(everywhere),
                name=numbers.choice("abc"),
                rule=numbers.choice(list(Rule)),
                stored=await bench.objects.put(b"%d" % numbers.randrange(4)),
            )
            for item in range(12)
        ]
        await catalogue.attach(batch)

    async def change() -> None:
        project = numbers.choice(projects)
        listing = Listing(project.root, recursive=True, limit=50)
        page = await catalogue.entries.list("ada", listing)
        entry = numbers.choice(page.items)
        target = numbers.choice(folders[project.id])
        action = numbers.randrange(4)
        if action == 0 and entry.size is not None:
            await catalogue.remove.entry("ada", entry.id)
        elif action == 1:
            await catalogue.entries.move("ada", entry.id, target, name=numbers.choice("abcxyz"))
        elif action == 2:
            await catalogue.entries.change("ada", entry.id, metadata={"k": "v"}, name=numbers.choice("abc"))
        elif entry.size is None:
            await catalogue.remove.entry("ada", entry.id, recursive=numbers.random() < 0.3)

    async def work(worker: int) -> None:
        for turn in range(12):
            # That a name is taken or an entry gone is the luck of the draw; a deadlock would be an error.
            with suppress(CatalogueError):
                await (attach() if (worker + turn) % 2 else change())

    async with asyncio.timeout(120):
        await asyncio.gather(*(work(worker) for worker in range(8)))
    lost = await bench.pool.fetchval(
        """
        SELECT count(*) FROM files.entries e LEFT JOIN files.blobs b USING (sha256)
        WHERE e.kind = 'file' AND (b.sha256 IS NULL OR b.removed_at IS NOT NULL)
        """
    )
    assert lost == 0


async def test_a_project_is_deleted_under_the_hands_of_those_who_attach_to_it(bench: Bench) -> None:
    for _ in range(8):
        project = await bench.project("ada")
        folders = [
            project.root,
            *[(await bench.catalogue.entries.create_folder("ada", project.root, name)).id for name in "abc"],
        ]

        async def attach(number: int, folders: list[str] = folders) -> list[Attached | Refusal]:
            job = await bench.job(8)
            batch = [
                await bench.attachment(job, item, folders[item % 4], f"f{number}", b"%d" % number)
                for item in range(8)
            ]
            return await bench.catalogue.attach(batch)

        async def delete(project_id: str = project.id) -> None:
            await asyncio.sleep(0.01)
            await bench.catalogue.remove.project("ada", project_id)

        async with asyncio.timeout(120):
            *landed, _ = await asyncio.gather(*(attach(number) for number in range(6)), delete())
        # A batch lands as a whole, before the project goes, or not at all.
        for done in landed:
            assert len({isinstance(each, Attached) for each in done or []}) == 1
        assert (
            await bench.pool.fetchval("SELECT count(*) FROM files.entries WHERE project = $1", project.id)
            == 0
        )
    await bench.catalogue.blobs.sweep()
    assert await count(bench, "blobs WHERE removed_at IS NULL") == 0
