"""Exports out of a real resource store: what is in them, and what is not."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from sluice_contracts.commands import CancelBulkExport, ExpireJob, WritePart
from sluice_contracts.events import ItemCancelled, ItemFailed, JobCancelled, JobPlanned, PartSealed
from sluice_contracts.exports import (
    Associated,
    ExpiryReason,
    ExportAccess,
    ExportLevel,
    IgnoredParameter,
    TypeFilter,
)
from sluice_exporter.plan import PartPlan
from sluice_exporter.sink import FileLimits
from sluice_storage.resources import copy_threads
from sluice_streaming.messages import Delivery
from sluice_streaming.outcomes import Reject
from support.exports import BASE, Bench, names, observation, open_bench, patient, start
from support.stack import Database

PATIENT, GROUP, SYSTEM = ExportLevel.PATIENT, ExportLevel.GROUP, ExportLevel.SYSTEM


@pytest.fixture
async def bench(database: Database, scratch: Path) -> AsyncIterator[Bench]:
    async with open_bench(database, scratch) as opened:
        yield opened


async def fill(bench: Bench) -> None:
    """Two patients with an Observation each, one that both are in, and an organization."""
    await bench.store.load(
        patient("a"), patient("b"), observation("1", "a"), observation("2", "b"),
        observation("3", "a", performer=[{"reference": "Patient/b"}]),
        {"resourceType": "Organization", "id": "o"},
        {"resourceType": "Group", "id": "g", "type": "person", "actual": True,
         "member": [{"entity": {"reference": "Patient/a"}}]},
    )  # fmt: skip


ALL = [
    "Group/g",
    "Observation/1",
    "Observation/2",
    "Observation/3",
    "Organization/o",
    "Patient/a",
    "Patient/b",
]
OF_A = ["Group/g", "Observation/1", "Observation/3", "Patient/a"]


async def test_a_system_export_is_everything_once_with_counts_and_hashes_that_hold(bench: Bench) -> None:
    await fill(bench)
    command = start()
    assert names(await bench.export(command)) == ALL
    for row in await bench.files(command.job):
        text = await bench.text(row)
        assert (row["size"], row["count"]) == (len(text), text.count(b"\n"))
        assert row["sha256"] == hashlib.sha256(text).digest()
        assert {line["resourceType"] for line in await bench.lines(command.job)} >= {row["type"]}
    assert bench.objects_of(command.job) == sorted(row["key"] for row in await bench.files(command.job))


@pytest.mark.parametrize(
    ("asked", "access", "expected"),
    [
        ({"level": PATIENT}, {"all_patients": True}, [name for name in ALL if name != "Organization/o"]),
        ({"level": GROUP, "group": "g"}, {"all_patients": True}, OF_A),
        ({"level": GROUP, "group": "g"}, {"groups": ("g",)}, OF_A),
        ({"level": GROUP, "group": "g"}, {"groups": ("h",)}, []),
        ({"level": GROUP, "group": "unknown"}, {"all_patients": True}, []),
        ({"level": SYSTEM}, {"groups": ("g",)}, OF_A),
        ({"level": PATIENT}, {"groups": ("g",)}, OF_A),
        ({"level": SYSTEM}, {}, []),
        ({"level": PATIENT, "patients": ("b",)}, {"all_patients": True},
         ["Observation/2", "Observation/3", "Patient/b"]),
        ({"level": PATIENT, "patients": ("b",)}, {"groups": ("g",)}, []),
        ({"level": PATIENT, "patients": ("a", "b")}, {"groups": ("g",)}, OF_A),
        ({"level": SYSTEM, "types": ("Patient", "Device")}, {"all_patients": True},
         ["Patient/a", "Patient/b"]),
        ({"level": SYSTEM}, {"all_patients": True, "types": ("Organization",)}, ["Organization/o"]),
        ({"level": SYSTEM, "types": ("Patient",)}, {"all_patients": True, "types": ("Organization",)}, []),
    ],
)  # fmt: skip
async def test_an_export_is_what_is_both_asked_for_and_permitted(
    bench: Bench, asked: dict[str, Any], access: dict[str, Any], expected: list[str]
) -> None:
    await fill(bench)
    assert names(await bench.export(start(access=ExportAccess(**access), **asked))) == expected


async def test_a_group_that_the_subject_was_not_given_is_not_told_by_its_members(bench: Bench) -> None:
    await fill(bench)
    await bench.store.load(
        {"resourceType": "Group", "id": "secret", "type": "person", "actual": True,
         "member": [{"entity": {"reference": "Patient/a"}}, {"entity": {"reference": "Patient/b"}}]}
    )  # fmt: skip
    lines = await bench.export(start(access=ExportAccess(groups=("g",)), level=GROUP, group="g"))
    assert names(lines) == OF_A


async def test_an_export_of_nothing_has_no_parts_and_is_planned_all_the_same(bench: Bench) -> None:
    command = start()
    (message,) = await bench.plan(command)
    assert isinstance(message.body, JobPlanned)
    assert (message.body.items, message.body.client, message.body.subject) == (0, "c", "s")
    assert await bench.pool.fetchval("SELECT parts FROM exports.jobs") == 0


async def test_changes_after_planning_are_not_in_the_export(bench: Bench) -> None:
    await fill(bench)
    command = start(types=("Patient", "Observation"))
    messages = await bench.plan(command)
    await bench.store.load(patient("a", active=True), patient("new"), observation("9", "a"))
    await bench.store.load(observation("1", "a", status="amended"))
    for message in messages[1:]:
        await bench.write(command.job, message.body.item)
    lines = await bench.lines(command.job)
    assert names(lines) == [name for name in ALL if name[:3] in ("Obs", "Pat")]
    assert all("active" not in line and line.get("status", "final") == "final" for line in lines)
    time = await bench.pool.fetchval("SELECT transaction_time FROM exports.jobs")
    assert all(line["meta"]["lastUpdated"] <= time.isoformat() for line in lines)


async def test_what_takes_longest_is_planned_first(bench: Bench) -> None:
    await fill(bench)
    await bench.store.load(observation("4", "a", note=[{"text": "x" * 3000}]))
    await bench.store.load({"resourceType": "Provenance", "id": "p", "target": [{"reference": "Patient/a"}]})
    command = start()
    await bench.plan(command)
    rows = await bench.pool.fetch("SELECT plan FROM exports.parts ORDER BY part")
    planned = [msgspec.json.decode(row["plan"], type=PartPlan).type for row in rows]
    assert planned == ["Provenance", "Observation", "Patient", "Group", "Organization"]


async def test_planning_twice_keeps_the_first_plan_and_gives_its_commands_again(bench: Bench) -> None:
    await fill(bench)
    command = start()
    first = await bench.plan(command)
    await bench.store.load(*(patient(f"p{n}") for n in range(50)), {"resourceType": "Device", "id": "d"})
    second = await bench.plan(command)
    assert [message.body for message in second] == [message.body for message in first]
    assert await bench.pool.fetchval("SELECT count(*) FROM exports.parts") == len(first) - 1


async def test_two_processes_that_plan_one_job_agree(bench: Bench) -> None:
    await fill(bench)
    command = start()
    one, other = await asyncio.gather(bench.plan(command), bench.plan(command))
    assert [message.body for message in one] == [message.body for message in other]


async def test_a_part_delivered_twice_is_sealed_once_and_told_twice(bench: Bench) -> None:
    await fill(bench)
    command = start(types=("Patient",))
    await bench.plan(command)
    first = await bench.write(command.job, 0)
    bench.time[0] += 60
    assert await bench.write(command.job, 0) == first
    told = first[0].body
    assert isinstance(told, PartSealed)
    (row,) = await bench.files(command.job)
    assert (told.resource_type, told.files, told.count, told.size) == ("Patient", 1, 2, row["size"])
    (file,) = told.sealed
    assert (file.resource_type, file.count, file.size, file.sha256) == (
        "Patient",
        2,
        row["size"],
        row["sha256"].hex(),
    )


async def test_a_part_written_by_two_at_once_has_the_files_of_one(bench: Bench) -> None:
    await fill(bench)
    command = start(types=("Patient",))
    await bench.plan(command)
    told = await asyncio.gather(*(bench.write(command.job, 0) for _ in range(4)))
    assert all(each == told[0] for each in told)
    assert bench.objects_of(command.job) == [row["key"] for row in await bench.files(command.job)]
    assert names(await bench.lines(command.job)) == ["Patient/a", "Patient/b"]


async def test_parts_sealed_at_once_have_a_place_each_and_a_second_attempt_takes_none(
    database: Database, scratch: Path
) -> None:
    async with open_bench(database, scratch, part_bytes=6000) as bench:
        await bench.store.load(*(patient(f"p{n}", name=[{"text": "x" * 1000}]) for n in range(60)))
        command = start()
        planned = await bench.plan(command)
        parts = [message.body.item for message in planned if isinstance(message.body, WritePart)]
        assert len(parts) >= 10
        await asyncio.gather(*(bench.write(command.job, part) for part in parts for _ in range(3)))
        places = await bench.pool.fetch("SELECT place FROM exports.parts ORDER BY place")
        assert [row["place"] for row in places] == list(range(len(parts)))
        assert await bench.pool.fetchval("SELECT sealed FROM exports.jobs") == len(parts)
        assert bench.objects_of(command.job) == sorted(row["key"] for row in await bench.files(command.job))
        assert len(await bench.lines(command.job)) == 60


async def test_all_files_of_a_job_are_encrypted_under_one_key_of_its_own(bench: Bench) -> None:
    await fill(bench)
    first, second = start(), start()
    writes = [message.body for message in await bench.plan(first) if isinstance(message.body, WritePart)]
    assert len(writes) > 2
    await asyncio.gather(*(bench.write(first.job, write.item) for write in writes))
    await bench.export(second)
    opened = [await bench.opened(row) for row in await bench.files(first.job)]
    assert len({file.key.secret for file in opened}) == 1
    assert names(await bench.lines(first.job)) == ALL
    assert {(await bench.opened(row)).key for row in await bench.files(second.job)}.isdisjoint(
        file.key for file in opened
    )
    for row in await bench.files(first.job):
        assert row["encrypted"]
        assert b"resourceType" not in (bench.folder / row["key"]).read_bytes()


async def test_what_a_killed_attempt_left_goes_when_the_part_is_sealed(bench: Bench) -> None:
    await fill(bench)
    command = start(types=("Patient",))
    await bench.plan(command)
    left = bench.folder / "exports" / command.job / "0" / "0.killed.ndjson"
    left.parent.mkdir(parents=True)
    left.write_bytes(b'{"half')
    await bench.write(command.job, 0)
    assert bench.objects_of(command.job) == [row["key"] for row in await bench.files(command.job)]


async def test_a_part_of_many_files_holds_all_lines_in_the_order_of_the_store(
    database: Database, scratch: Path
) -> None:
    # A file takes one of the chunks that the store gives.
    async with open_bench(database, scratch, limits=FileLimits(1_000_000, 1_500_000)) as bench:
        await bench.store.load(*(patient(f"p{n:04}", name=[{"text": "x" * 3000}]) for n in range(1500)))
        command = start()
        lines = await bench.export(command)
        rows = await bench.files(command.job)
        placed = await bench.pool.fetch("SELECT id FROM fhir.resources ORDER BY seq")
        assert [line["id"] for line in lines] == [row["id"] for row in placed]
        assert len(lines) == 1500
        assert len(rows) > 1
        assert [(row["part"], row["n"]) for row in rows] == [(0, n) for n in range(len(rows))]
        assert all(row["size"] <= 1_500_000 for row in rows)
        assert [row["count"] for row in rows] == [(await bench.text(row)).count(b"\n") for row in rows]


async def test_a_cancelled_job_seals_nothing_more_and_its_content_is_to_go(bench: Bench) -> None:
    await fill(bench)
    command = start(types=("Patient", "Observation"))
    await bench.plan(command)
    await bench.write(command.job, 0)
    cancel = CancelBulkExport(job=command.job)
    for _ in range(2):
        told, expire = await bench.planning.handle(Delivery(cancel, None))
        assert isinstance(told.body, JobCancelled)
        assert expire.body == ExpireJob(job=command.job, reason=ExpiryReason.CANCELLED)
    for part in (0, 1):
        (message,) = await bench.write(command.job, part)
        assert isinstance(message.body, ItemCancelled)
    assert await bench.pool.fetchval("SELECT count(*) FROM exports.files") == 1


async def test_a_part_stops_in_the_middle_when_its_job_is_cancelled(
    database: Database, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a part of a few megabytes takes is less than the time after which one hears that it goes on.
    monkeypatch.setattr(copy_threads, "TELL_EVERY", 0.0)
    async with open_bench(database, scratch) as bench:
        await bench.store.load(*(patient(f"p{n}", name=[{"text": "x" * 3000}]) for n in range(1500)))
        command = start()
        await bench.plan(command)
        looked = bench.writing._parts.stopped

        async def stopped(job: str) -> bool:
            # It is cancelled when the first look has found nothing yet.
            found = await looked(job)
            await bench.planning.handle(Delivery(CancelBulkExport(job=job), None))
            return found

        bench.writing._parts.stopped = stopped  # type: ignore[method-assign]
        # Postgres writes on meanwhile, which must not be waited for: that would take a minute.
        async with asyncio.timeout(45):
            (message,) = await bench.write(command.job, 0)
        assert isinstance(message.body, ItemCancelled)
        assert bench.objects_of(command.job) == []


async def test_a_job_deleted_before_it_is_planned_ends_without_parts(bench: Bench) -> None:
    await fill(bench)
    command = start()
    await bench.pool.fetchval("SELECT exports.withdraw($1, 'deleted', now())", command.job)
    planned, cancelled = await bench.plan(command)
    assert (planned.body.items, type(cancelled.body)) == (0, JobCancelled)
    assert await bench.pool.fetchval("SELECT request FROM exports.jobs") is None


async def test_a_job_cancelled_before_it_is_planned_is_planned_and_writes_nothing(bench: Bench) -> None:
    await fill(bench)
    command = start()
    await bench.planning.handle(Delivery(CancelBulkExport(job=command.job), None))
    planned, *writes = await bench.plan(command)
    assert planned.body.items == len(writes) > 0
    (message,) = await bench.write(command.job, 0)
    assert isinstance(message.body, ItemCancelled)


@pytest.mark.parametrize(("job", "part"), [("x", 0), (str(UUID(int=7)), 0), (str(UUID(int=7)), -1)])
async def test_a_part_that_nobody_planned_is_rejected(bench: Bench, job: str, part: int) -> None:
    with pytest.raises(Reject):
        await bench.writing.handle(Delivery(WritePart(job=job, item=part), None))


async def test_since_is_after_until_is_up_to_and_deletions_come_as_bundles(bench: Bench) -> None:
    await fill(bench)
    before = await bench.store.planner.snapshot()
    await bench.store.load(patient("c"))
    middle = await bench.store.planner.snapshot()
    await bench.store.loader.delete([("Patient", "b")])
    await bench.store.load(patient("d"))
    command = start(since=before.time)
    assert names(await bench.export(command)) == ["Patient/c", "Patient/d"]
    (bundle,) = await bench.lines(command.job, "deleted")
    assert bundle["type"] == "transaction"
    assert [each["request"] for each in bundle["entry"]] == [{"method": "DELETE", "url": "Patient/b"}]
    assert [row["type"] for row in await bench.files(command.job) if row["kind"] == "deleted"] == ["Bundle"]
    assert names(await bench.export(start(since=before.time, until=middle.time))) == ["Patient/c"]
    without = start()
    assert "Patient/b" not in names(await bench.export(without))
    assert await bench.lines(without.job, "deleted") == []


async def test_deletions_are_told_also_when_nothing_of_the_type_is_left(bench: Bench) -> None:
    await fill(bench)
    before = await bench.store.planner.snapshot()
    await bench.store.loader.delete([("Organization", "o"), ("Observation", "2")])
    told = {}
    for level in (SYSTEM, PATIENT):
        command = start(level=level, since=before.time)
        assert await bench.export(command) == []
        bundles = await bench.lines(command.job, "deleted")
        told[level] = sorted(each["request"]["url"] for bundle in bundles for each in bundle["entry"])
    assert told == {SYSTEM: ["Observation/2", "Organization/o"], PATIENT: ["Observation/2"]}
    command = start(level=GROUP, group="g", since=before.time)
    await bench.export(command)
    assert await bench.lines(command.job, "deleted") == []


async def test_elements_leave_the_rest_out_and_say_so(bench: Bench) -> None:
    await fill(bench)
    command = start(types=("Observation", "Patient"), elements=("Observation.subject",))
    for line in await bench.export(command):
        if line["resourceType"] == "Patient":
            assert "tag" not in line["meta"]
        else:
            assert set(line) == {"resourceType", "id", "meta", "status", "code", "subject"}
            assert [tag["code"] for tag in line["meta"]["tag"]] == ["SUBSETTED"]
            assert {"versionId", "lastUpdated"} < set(line["meta"])


async def test_filters_of_one_type_are_alternatives_and_leave_other_types_alone(bench: Bench) -> None:
    await bench.store.load(
        patient("a"), observation("1", "a", status="final"), observation("2", "a", status="amended"),
        observation("3", "a", status="preliminary"),
    )  # fmt: skip
    filters = tuple(
        TypeFilter(type="Observation", query=f"status={status}") for status in ("final", "amended")
    )
    lines = await bench.export(start(type_filters=filters))
    assert names(lines) == ["Observation/1", "Observation/2", "Patient/a"]
    none = start(types=("Observation",), type_filters=(TypeFilter(type="Observation", query="status=x"),))
    assert await bench.export(none) == []
    assert await bench.files(none.job) == []


async def test_ignored_parameters_are_told_in_the_error_output(bench: Bench) -> None:
    ignored = tuple(IgnoredParameter(name=name, reason="not supported") for name in ("_x", "_y"))
    command = start(ignored=ignored)
    assert await bench.export(command) == []
    lines = await bench.lines(command.job, "error")
    assert [line["resourceType"] for line in lines] == ["OperationOutcome"] * 2
    assert [line["issue"][0]["expression"] for line in lines] == [["_x"], ["_y"]]
    assert {row["type"] for row in await bench.files(command.job)} == {"OperationOutcome"}


async def test_a_part_that_is_given_up_is_told_in_the_error_output_and_costs_nothing_else(
    bench: Bench,
) -> None:
    await fill(bench)
    ignored = (IgnoredParameter(name="_x", reason="not supported"),)
    command = start(types=("Patient", "Observation"), ignored=ignored)
    await bench.plan(command)
    (failed,) = await bench.fail(command.job, 0)
    assert failed == (await bench.fail(command.job, 0))[0] == (await bench.write(command.job, 0))[0]
    assert isinstance(failed.body, ItemFailed)
    (sealed,) = await bench.write(command.job, 1)
    assert isinstance(sealed.body, PartSealed)
    assert names(await bench.lines(command.job)) == ["Patient/a", "Patient/b"]
    told, left_out = await bench.lines(command.job, "error")
    assert told["issue"][0]["severity"] == "error"
    assert "Observation resources (up to 3)" in told["issue"][0]["details"]["text"]
    assert left_out["issue"][0]["expression"] == ["_x"]
    row = await bench.pool.fetchrow("SELECT sealed, parts FROM exports.jobs")
    assert row is not None
    assert row["sealed"] == row["parts"] == 2


async def test_a_part_that_is_given_up_after_its_cancellation_is_cancelled(bench: Bench) -> None:
    await fill(bench)
    command = start()
    await bench.plan(command)
    await bench.planning.handle(Delivery(CancelBulkExport(job=command.job), None))
    (message,) = await bench.fail(command.job, 0)
    assert isinstance(message.body, ItemCancelled)
    assert await bench.files(command.job) == []


async def test_deletions_of_groups_that_the_subject_was_not_given_are_not_told(bench: Bench) -> None:
    await fill(bench)
    secret = {"resourceType": "Group", "id": "secret", "type": "person", "actual": True,
              "member": [{"entity": {"reference": "Patient/a"}}]}  # fmt: skip
    await bench.store.load(secret, {**secret, "id": "h"})
    before = await bench.store.planner.snapshot()
    await bench.store.loader.delete([("Group", "secret"), ("Group", "h")])
    for access, expected in (
        (ExportAccess(groups=("g", "h")), ["Group/h"]),
        (ExportAccess(all_patients=True), ["Group/h", "Group/secret"]),
    ):
        command = start(access=access, since=before.time)
        await bench.export(command)
        bundles = await bench.lines(command.job, "deleted")
        urls = sorted(each["request"]["url"] for bundle in bundles for each in bundle["entry"])
        assert urls == expected


async def test_addresses_of_attachments_come_out_absolute(bench: Bench) -> None:
    attachments = [{"attachment": {"url": url}} for url in ("Binary/1", "http://source/fhir/Binary/2")]
    reference = {"resourceType": "DocumentReference", "id": "d", "status": "current",
                 "subject": {"reference": "Patient/a"}, "content": attachments}  # fmt: skip
    await bench.store.load(patient("a"), reference)
    expected = [f"{BASE}/Binary/1", "http://source/fhir/Binary/2"]
    for asked in ({}, {"elements": ("content",)}, {"organize_by": "Patient"}):
        command = start(**asked)
        (line,) = (
            line for line in await bench.export(command) if line["resourceType"] == "DocumentReference"
        )
        assert [each["attachment"]["url"] for each in line["content"]] == expected
        for row in await bench.files(command.job):
            assert (row["size"], row["sha256"]) == (
                len(await bench.text(row)),
                hashlib.sha256(await bench.text(row)).digest(),
            )


@pytest.mark.parametrize("access", [ExportAccess(all_patients=True), ExportAccess(groups=("g",))])
async def test_output_by_patient_has_a_headed_block_for_each(bench: Bench, access: ExportAccess) -> None:
    await fill(bench)
    command = start(access=access, organize_by="Patient")
    lines = await bench.export(command)
    blocks: dict[str, list[str]] = {}
    for line in lines:
        if line["resourceType"] == "Parameters":
            current = blocks.setdefault(line["parameter"][0]["valueReference"]["reference"], [])
            assert current == []
        else:
            current.append(f"{line['resourceType']}/{line['id']}")
    expected = {"Patient/a": set(OF_A)}
    if access.all_patients:
        expected["Patient/b"] = {"Patient/b", "Observation/2", "Observation/3"}
    assert {patient_: set(found) for patient_, found in blocks.items()} == expected
    assert all(found[0] == patient_ for patient_, found in blocks.items())
    assert all(row["type"] is None for row in await bench.files(command.job))


@pytest.mark.parametrize(
    ("associated", "expected"),
    [
        (Associated.RELEVANT_PROVENANCE, {"new", "old", "of-b"}),
        (Associated.LATEST_PROVENANCE, {"new", "of-b"}),
    ],
)
async def test_blocks_have_the_provenance_of_what_changed_since_whenever_it_was_stored(
    bench: Bench, associated: Associated, expected: set[str]
) -> None:
    await fill(bench)
    await bench.store.load(
        provenance("old", "2025-01-01T00:00:00Z", "Observation/3", "Patient/a"),
        provenance("new", "2025-01-02T00:00:00+01:00", "Observation/3", "Patient/a"),
        provenance("of-b", "2024-01-01T00:00:00Z", "Observation/3", "Patient/b"),
        provenance("unchanged", "2025-01-02T00:00:00Z", "Observation/1", "Patient/a"),
        provenance("nobody", "2026-01-02T00:00:00Z", "Observation/3"),
    )
    since = (await bench.store.planner.snapshot()).time
    changed = observation("3", "a", performer=[{"reference": "Patient/b"}], status="amended")
    await bench.store.load(changed)
    lines = await bench.export(
        start(types=("Observation",), since=since, organize_by="Patient", include_associated=associated)
    )
    blocks: dict[str, list[str]] = {}
    for line in lines:
        if line["resourceType"] == "Parameters":
            block = blocks.setdefault(line["parameter"][0]["valueReference"]["reference"], [])
        else:
            block.append(line["id"])
    assert {name: found[0] for name, found in blocks.items()} == {"Patient/a": "3", "Patient/b": "3"}
    assert {name for found in blocks.values() for name in found[1:]} == expected
    assert sorted(blocks["Patient/b"]) == ["3", "of-b"]


def provenance(id_: str, recorded: str, *about: str) -> dict[str, Any]:
    return {
        "resourceType": "Provenance",
        "id": id_,
        "recorded": recorded,
        "target": [{"reference": each} for each in about],
        "agent": [{"who": {"display": "x"}}],
    }


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"include_associated": Associated.RELEVANT_PROVENANCE}, ["new", "old", "one"]),
        ({"include_associated": Associated.LATEST_PROVENANCE}, ["new", "one"]),
        ({}, []),
    ],
)
async def test_provenance_comes_with_what_it_is_about(
    bench: Bench, asked: dict[str, Any], expected: list[str]
) -> None:
    await fill(bench)
    await bench.store.load(
        provenance("old", "2025-01-01T00:00:00Z", "Observation/2"),
        provenance("new", "2025-01-02T00:00:00+01:00", "Observation/2", "Patient/a"),
        provenance("one", "2024-01-02T00:00:00Z", "Observation/1"),
        provenance("else", "2025-01-02T00:00:00Z", "Patient/a", "Observation/unknown"),
    )
    lines = await bench.export(start(types=("Observation",), **asked))
    assert [line["id"] for line in lines if line["resourceType"] == "Provenance"] == sorted(
        expected, key=["old", "new", "one"].index
    )


async def test_a_patient_export_has_the_provenance_of_everything_in_compartments(bench: Bench) -> None:
    await fill(bench)
    await bench.store.load(
        provenance("in", "2025-01-01T00:00:00Z", "Observation/2"),
        provenance("out", "2025-01-01T00:00:00Z", "Organization/o"),
    )
    lines = await bench.export(start(level=PATIENT))
    assert [line["id"] for line in lines if line["resourceType"] == "Provenance"] == ["in"]
    assert len([line for line in await bench.export(start()) if line["resourceType"] == "Provenance"]) == 2


async def test_what_was_listed_first_stays_a_beginning_of_what_is_listed_later(bench: Bench) -> None:
    await fill(bench)
    command = start()
    messages = await bench.plan(command)
    seen: list[tuple[int, int]] = []
    for message in reversed(messages[1:]):
        await bench.write(command.job, message.body.item)
        rows = await bench.pool.fetch(
            "SELECT part, n FROM exports.files JOIN exports.parts USING (job, part) ORDER BY place, n"
        )
        now = [(row["part"], row["n"]) for row in rows]
        assert now[: len(seen)] == seen
        seen = now
    assert await bench.pool.fetchval("SELECT sealed = parts FROM exports.jobs")


async def test_memory_does_not_grow_with_the_size_of_a_part(database: Database, scratch: Path) -> None:
    async with open_bench(database, scratch) as bench:
        text = "x" * 40_000
        for first in range(0, 3000, 500):
            resources = (patient(f"p{n}", name=[{"text": text}]) for n in range(first, first + 500))
            await bench.store.load(*resources)
        command = start()
        await bench.plan(command)
        parts = await bench.pool.fetchval("SELECT parts FROM exports.jobs WHERE job = $1", command.job)
        peaks = []
        for part in range(parts):
            gc.collect()
            tracemalloc.start()
            await bench.write(command.job, part)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        sizes = await bench.pool.fetch("SELECT sum(size) AS size FROM exports.files GROUP BY part")
        # Some chunks of a megabyte are under way, whatever a part holds.
        assert max(row["size"] for row in sizes) > 40_000_000
        assert max(peaks) < 20_000_000
