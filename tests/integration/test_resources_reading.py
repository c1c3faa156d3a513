"""Reading the resource store for exports: snapshots, windows, compartments, deletions, parts."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise
from typing import Any, cast

import asyncpg
import msgspec
import pytest

from sluice_storage.pool import open_pool
from sluice_storage.resources.batches import ConflictError, batch
from sluice_storage.resources.copy_threads import TELL_EVERY, Copies
from sluice_storage.resources.model import Chunk, Part, Window
from sluice_storage.resources.reader import Reader
from sluice_storage.resources.upkeep import prune
from support.resource_store import Store, open_store
from support.stack import Database


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    async with open_store(database) as opened:
        yield opened


def patient(id_: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id_, **more}


def observation(id_: str, subject: str, *performers: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": id_,
        "subject": {"reference": f"Patient/{subject}"},
        "performer": [{"reference": f"Patient/{performer}"} for performer in performers],
        **more,
    }


async def test_a_snapshot_stays_as_it_was_whatever_is_done_afterwards(store: Store) -> None:
    await store.load(patient("a", gender="male"), patient("b"), observation("o", "a"))
    window = await store.window()
    before = await store.all_in(window)
    await store.load(patient("a", gender="female"), patient("c"), observation("o", "b"))
    await store.loader.delete([("Patient", "b"), ("Observation", "o")])
    await store.load(patient("b", gender="other"))
    assert await store.all_in(window) == before
    assert await store.deleted_in(window) == set()
    assert set(await store.of_patients(window, ["a"])) == {"Patient/a", "Observation/o"}
    now = await store.all_in(await store.window())
    assert {key: resource.get("gender") for key, resource in now.items()} == {
        "Patient/a": "female",
        "Patient/b": "other",
        "Patient/c": None,
    }


async def test_changes_since_one_snapshot_and_until_another_meet_without_gap_or_overlap(store: Store) -> None:
    snapshots = [await store.planner.snapshot()]
    for round_ in range(5):
        await store.load(*(patient(f"p{n}", multipleBirthInteger=round_) for n in range(round_, 10)))
        snapshots.append(await store.planner.snapshot())
    latest = await store.window()
    seen: dict[str, Any] = {}
    for since, until in pairwise(snapshots):
        found = await store.all_in(Window(latest.snapshot, since.time, until.time))
        assert not set(found) & set(seen)
        seen |= found
    assert seen == await store.all_in(latest)
    assert await store.all_in(await store.window(since=snapshots[-1])) == {}


async def test_an_increment_has_what_changed_and_names_what_was_deleted(store: Store) -> None:
    await store.load(patient("a"), patient("b"), patient("c"), observation("x", "a"), observation("y", "b"))
    first = await store.planner.snapshot()
    await store.load(patient("a", gender="male"), patient("d"), patient("gone"))
    await store.loader.delete([("Patient", "b"), ("Observation", "y"), ("Patient", "gone")])
    window = await store.window(since=first)
    assert set(await store.all_in(window)) == {"Patient/a", "Patient/d"}
    assert await store.deleted_in(window) == {"Patient/b", "Observation/y", "Patient/gone"}
    assert await store.deleted_in(window, patients=["b"]) == {"Patient/b", "Observation/y"}
    assert await store.deleted_in(window, patients=[]) == set()
    assert await store.deleted_in(await store.window(since=window.snapshot)) == set()
    await store.load(patient("b"))
    window = await store.window(since=first)
    assert "Patient/b" not in await store.deleted_in(window)
    assert "Patient/b" in await store.all_in(window)


async def test_a_patient_level_read_has_the_compartments_and_nothing_else(store: Store) -> None:
    organization = {"resourceType": "Organization", "id": "o"}
    unattached = {"resourceType": "Observation", "id": "device", "subject": {"reference": "Device/d"}}
    await store.load(
        patient("a"), observation("x", "a", "b"), observation("y", "c"), organization, unattached
    )
    window = await store.window()
    # Observation/y is in the compartment of a patient that is not there: that is for the reader to say.
    assert set(await store.all_in(window, compartment=True)) == {
        "Patient/a",
        "Observation/x",
        "Observation/y",
    }
    assert set(await store.all_in(window)) >= {"Organization/o", "Observation/device"}


async def test_what_several_patients_share_is_read_once_and_by_patient_with_each(store: Store) -> None:
    await store.load(
        *(patient(name) for name in "abc"),
        observation("ab", "a", "b"),
        observation("bc", "b", "c"),
        observation("a", "a"),
        observation("aa", "a", "a"),
        patient("l", link=[{"other": {"reference": "Patient/a"}, "type": "refer"}]),
    )
    window = await store.window()
    found = await store.of_patients(window, ["a", "b", "a"], part_bytes=1)
    assert set(found) == {
        *("Patient/a", "Patient/b", "Patient/l"),
        *("Observation/ab", "Observation/bc", "Observation/a", "Observation/aa"),
    }
    assert await store.of_patients(window, []) == {}
    blocks: dict[str, set[str]] = {}
    order: list[str] = []
    async for chunk in store.reader.by_patient(
        ["Patient", "Observation", "Nothing"], ["b", "a", "x"], window
    ):
        lines = [msgspec.json.decode(line) for line in chunk.data.splitlines()]
        assert chunk.count == len(lines)
        assert {line["resourceType"] for line in lines} == {chunk.type}
        blocks.setdefault(chunk.patient, set()).update(line["id"] for line in lines)
        order.append(chunk.patient)
    assert order == sorted(order, reverse=True)
    assert blocks == {"b": {"b", "ab", "bc"}, "a": {"a", "l", "ab", "aa"}}


async def test_parts_cut_any_size_and_hold_everything_once(store: Store) -> None:
    for start in range(0, 3000, 300):
        await store.load(*(observation(f"o{n}", f"p{n % 7}") for n in range(start, start + 300)))
    await store.load(*(observation(f"o{n}", "p1", status="final") for n in range(0, 3000, 3)))
    window = await store.window()
    whole = await store.all_in(window)
    assert len(whole) == 3000
    # Versions that were replaced are planned for, and not read.
    planned = await store.owner.fetchval("SELECT sum(bytes)::bigint FROM fhir.batch_types")
    for size in (10_000, 40_000, 1 << 30):
        parts = await store.planner.parts(["Observation"], window, part_bytes=size)
        assert len(parts) == math.ceil(planned / size)
        assert await store.read(parts, window) == whole
        patients = [f"p{n}" for n in range(7)]
        assert await store.of_patients(window, patients, part_bytes=size) == whole
    assert (await store.planner.types(window))["Observation"].resources == 3000


async def test_parts_survive_being_stored_as_json(store: Store) -> None:
    await store.load(patient("a"), observation("x", "a", "b"))
    window = await store.window()
    parts = await store.planner.parts(["Patient", "Observation"], window, compartment=True)
    parts += await store.planner.patient_parts(["Observation"], ["a", "b"], window)
    assert msgspec.json.decode(msgspec.json.encode(parts), type=list[Part]) == parts
    assert msgspec.json.decode(msgspec.json.encode(window), type=Window) == window


async def test_types_are_known_after_their_last_resource_was_deleted(store: Store) -> None:
    await store.load(patient("a"), observation("x", "a"))
    first = await store.planner.snapshot()
    await store.loader.delete([("Observation", "x")])
    now = await store.window(since=first)
    assert set(await store.planner.types(Window(now.snapshot))) == {"Patient"}
    assert await store.planner.known_types(now.snapshot) == ("Observation", "Patient")
    await prune(store.owner, now.snapshot)
    assert await store.planner.known_types(now.snapshot) == ("Observation", "Patient")
    assert await store.deleted_in(now) == {"Observation/x"}


async def test_types_are_known_by_how_much_was_stored_of_them_the_most_first(store: Store) -> None:
    large = [observation(f"o{n}", "a", note=[{"text": "x" * 3000}]) for n in range(3)]
    await store.load(patient("a"), *large, *(patient(f"p{n}") for n in range(5)))
    await store.load({"resourceType": "Organization", "id": "o"})
    known = await store.planner.known_types(await store.planner.snapshot())
    assert known == ("Observation", "Patient", "Organization")


async def test_patients_come_page_by_page_as_the_snapshot_has_them(store: Store) -> None:
    assert list(await store.planner.patients(await store.window())) == []
    await store.load(*(patient(f"p{n}") for n in range(5)))
    window = await store.window()
    await store.loader.delete([("Patient", "p3")])
    await store.load(patient("p5"))
    first = await store.planner.patients(window, limit=3)
    rest = await store.planner.patients(window, after=first[-1].seq, limit=3)
    assert [place.id for place in [*first, *rest]] == [f"p{n}" for n in range(5)]


async def test_a_batch_under_way_is_waited_for_or_held_back_from(store: Store) -> None:
    await store.load(patient("a"))
    async with store.owner.acquire() as connection:
        opened = asyncio.Event()
        finish = asyncio.Event()

        async def slow() -> None:
            async with batch(connection, 1):
                opened.set()
                await finish.wait()

        writing = asyncio.create_task(slow())
        await opened.wait()
        await store.load(patient("b"))
        held = await store.planner.snapshot(wait=0.05)
        found = await store.all_in(Window(held))
        assert set(found) == {"Patient/a"}
        waiting = asyncio.create_task(store.planner.snapshot(wait=60))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        finish.set()
        await writing
        snapshot = await waiting
    now = await store.all_in(Window(snapshot))
    assert set(now) == {"Patient/a", "Patient/b"}
    late = msgspec.convert(now["Patient/b"]["meta"]["lastUpdated"], type(held.time))
    assert held.time < late <= snapshot.time


async def test_a_batch_that_nobody_works_on_is_given_up_and_can_no_more_be_committed(store: Store) -> None:
    async with store.owner.acquire() as connection:
        number = await connection.fetchval("SELECT batch FROM fhir.open_batch(5, NULL, NULL, NULL)")
        taken = await store.readers.fetchval("SELECT batch FROM fhir.take_snapshot(NULL, '1 hour')")
        assert taken == number - 1
        taken = await store.readers.fetchval("SELECT batch FROM fhir.take_snapshot(NULL, '0 s')")
        assert taken == number
        with pytest.raises(ConflictError):
            async with batch(cast("Any", _Resuming(connection, number)), 5):
                pytest.fail("the batch was given up")


class _Resuming:
    """A connection of a process that was taken for dead after it had opened its batch."""

    def __init__(self, connection: Any, number: int) -> None:
        self._connection = connection
        self._number = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def fetchrow(self, statement: str, *arguments: object) -> Any:
        if "open_batch" not in statement:
            return await self._connection.fetchrow(statement, *arguments)
        return await self._connection.fetchrow("SELECT * FROM fhir.batches WHERE batch = $1", self._number)


async def test_readers_may_read_and_not_write(store: Store, database: Database) -> None:
    await store.load(patient("a"))
    readers = await open_pool(database.dsn_for("exporter"), size=1)
    assert await readers.fetchval("SELECT count(*) FROM fhir.resources") == 1
    for statement in (
        "DELETE FROM fhir.resources",
        "UPDATE fhir.resources_patient SET version = 2",
        "INSERT INTO fhir.shared VALUES ('a', 'Patient', 1)",
        "SELECT fhir.open_batch(1, NULL, NULL, NULL)",
        "SELECT fhir.ensure_types('{Basic}')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await readers.execute(statement)
    await readers.close()


async def test_pruning_takes_what_no_snapshot_from_then_on_has(store: Store) -> None:
    await store.load(patient("a"), observation("x", "a", "b"))
    first = await store.window()
    await store.load(patient("a", gender="male"), observation("x", "a", "c"))
    second = await store.window()
    before = await store.all_in(second)
    await store.load(patient("a", gender="female"))
    await store.loader.delete([("Observation", "x")])
    assert await prune(store.owner, first.snapshot) == 0
    assert await prune(store.owner, second.snapshot) == 2
    assert await prune(store.owner, second.snapshot) == 0
    assert await store.all_in(second) == before
    assert set(await store.of_patients(second, ["c"])) == {"Observation/x"}
    assert await store.owner.fetchval("SELECT count(*) FROM fhir.shared WHERE patient = 'b'") == 0
    assert await store.deleted_in(await store.window(since=second.snapshot)) == {"Observation/x"}


async def large_part(store: Store, count: int) -> tuple[Part, Window]:
    """Load Observations of three kilobytes each, and give the part that they are, in the window of now."""
    await store.load(*(observation(f"o{n}", "a", note=[{"text": "x" * 3000}]) for n in range(count)))
    window = await store.window()
    (part,) = await store.planner.parts(["Observation"], window)
    return part, window


async def test_a_reader_that_leaves_early_gives_its_connection_back(store: Store) -> None:
    part, window = await large_part(store, 4000)
    for _ in range(8):
        async with aclosing(store.reader.chunks(part, window)) as chunks:
            async for chunk in chunks:
                assert chunk.count
                break
    assert len(await store.all_in(window)) == 4000


async def test_work_on_what_is_read_is_done_in_other_threads_and_ends_the_read_if_it_fails(
    store: Store,
) -> None:
    part, window = await large_part(store, 1000)
    worked: list[tuple[int, int]] = []

    def note(chunk: Chunk) -> None:
        worked.append((chunk.count, threading.get_ident()))

    _ = [None async for _ in store.reader.worked(part, window, note)]
    assert sum(count for count, _ in worked) == 1000
    assert threading.get_ident() not in {own for _, own in worked}

    def fail(chunk: Chunk) -> None:
        raise BrokenPipeError(f"{chunk.count}")

    for _ in range(8):
        with pytest.raises(BrokenPipeError):
            _ = [None async for _ in store.reader.worked(part, window, fail)]
    assert len(await store.all_in(window)) == 1000


async def test_no_more_reads_than_may_be_are_worked_upon_at_once_and_plain_reads_do_not_wait_for_them(
    store: Store, database: Database
) -> None:
    part, window = await large_part(store, 1000)
    copies = Copies(database.dsn_for("gateway"), size=4, working=1)
    reader = Reader(store.readers, copies)
    most, lock = 0, threading.Lock()
    begun, go_on = threading.Event(), threading.Event()

    def work(chunk: Chunk) -> None:
        nonlocal most
        begun.set()
        if not lock.acquire(blocking=False):
            most = 2
            return
        most = max(most, 1)
        assert go_on.wait(60)
        time.sleep(0.01)  # long enough for another thread, if there were one, to come by
        lock.release()

    async def total() -> int:
        worked: list[int] = []

        def counted(chunk: Chunk) -> None:
            work(chunk)
            worked.append(chunk.count)

        _ = [None async for _ in reader.worked(part, window, counted)]
        return sum(worked)

    try:
        reads = [asyncio.create_task(total()) for _ in range(4)]
        assert await asyncio.to_thread(begun.wait, 60)
        assert sum([chunk.count async for chunk in reader.chunks(part, window)]) == 1000
        assert not any(read.done() for read in reads)
        go_on.set()
        assert await asyncio.gather(*reads) == [1000] * 4
    finally:
        go_on.set()
        await copies.close()
    assert most == 1


async def test_whoever_waits_for_long_work_hears_now_and_then_that_it_goes_on_and_may_end_it_for_others(
    store: Store, database: Database
) -> None:
    part, window = await large_part(store, 1000)
    copies = Copies(database.dsn_for("gateway"), size=4, working=1)
    reader = Reader(store.readers, copies)
    slow: list[int] = []
    quick: list[int] = []

    def work(chunk: Chunk) -> None:
        slow.append(chunk.count)
        time.sleep(TELL_EVERY)

    try:
        async with aclosing(reader.worked(part, window, work)) as going:
            assert await anext(going, "ended") is None
        ended = sum(slow)
        assert 0 < ended < 1000
        await asyncio.sleep(2 * TELL_EVERY)
        assert sum(slow) == ended, "once it is closed nothing is working any more"
        _ = [None async for _ in reader.worked(part, window, lambda chunk: quick.append(chunk.count))]
        assert sum(quick) == 1000
    finally:
        await copies.close()


async def test_a_read_whose_connection_ends_or_that_takes_too_long_says_so_and_the_next_one_goes_on(
    store: Store,
) -> None:
    part, window = await large_part(store, 4000)
    async with aclosing(store.reader.chunks(part, window)) as chunks:
        assert (await anext(chunks)).count
        ended = await store.readers.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'COPY%'"
        )
        assert ended == 1
        with pytest.raises(ConnectionError):
            _ = [None async for _ in chunks]
    hasty = Reader(store.readers, store.copies, timeout=0)
    with pytest.raises(TimeoutError):
        _ = [None async for _ in hasty.chunks(part, window)]
    assert len(await store.all_in(window)) == 4000


async def test_pages_and_single_reads_show_what_is_there_now(store: Store) -> None:
    await store.load(
        *(patient(f"p{n}") for n in range(5)), observation("x", "p1", "p2"), observation("y", "p3")
    )
    await store.loader.delete([("Patient", "p3")])
    seen: list[str] = []
    after = 0
    while True:
        page = await store.lookup.page("Patient", after=after, limit=2)
        seen += [item.id for item in page.items]
        if page.next is None:
            break
        after = page.next
    assert seen == ["p0", "p1", "p2", "p4"]
    (shared,) = (await store.lookup.page("Observation", patients=["p2"])).items
    assert (shared.id, set(shared.patients)) == ("x", {"p1", "p2"})
    found = await store.lookup.read_many("Patient", ["p1", "p3", "p9"])
    assert {id_: stored.deleted for id_, stored in found.items()} == {"p1": False, "p3": True}
    assert found["p3"].patients == {"p3"}
    assert await store.lookup.read("Medication", "p1") is None
