"""What Postgres knows of exports for the gateway: admission under concurrency, polls, files, deletion."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from sluice_contracts.exports import ExportAccess, ExportLevel, ExportRequest, FileKind
from sluice_gateway.fhir.export_store import Admission
from sluice_gateway.stores.exports import PostgresExports
from sluice_gateway.stores.imports import PostgresImports
from sluice_storage.exports.downloads import DeletedJobError, Downloads
from sluice_storage.pool import open_pool
from support.stack import Database

NOW = datetime(2026, 1, 2, tzinfo=UTC)
REQUEST = ExportRequest(level=ExportLevel.SYSTEM, url="https://x.test/fhir/$export")
ACCESS = ExportAccess(all_patients=True, types=("Patient",))


@dataclass
class Place:
    """The store as the gateway has it, and rows as the other services would write them."""

    store: PostgresExports
    pool: asyncpg.Pool
    owner: asyncpg.Pool

    async def admit(
        self, request: bytes = b"r", *, job: str | None = None, most: int = 3, once: bool = False, **who: str
    ) -> tuple[str, bool, str | None]:
        chosen = {"client": "c", "subject": "s", **who}
        admission = Admission(job=job or str(uuid4()), request=request, **chosen)
        admitted, twin = await self.store.admit(admission, NOW, most=most, once=once)
        return admission.job, admitted, twin

    async def plan(self, job: str, *, parts: int = 1) -> None:
        """Do what the exporter and the status service do with a start."""
        await self.owner.execute(
            "INSERT INTO exports.jobs (job, client, subject, request, access, snapshot, transaction_time,"
            " parts, keep, submitted_at, planned_at)"
            " VALUES ($1, 'c', 's', $2, $3, 1, $4, $5, '7 days', $4, $4)",
            job,
            msgspec.json.encode(REQUEST),
            msgspec.json.encode(ACCESS),
            NOW,
            parts,
        )
        await self.owner.execute(
            "INSERT INTO status.jobs (job, kind, client, subject, state, items, submitted_at, started_at)"
            " VALUES ($1, 'bulk-export', 'c', 's', 'RUNNING', $2, $3, $3)",
            job,
            parts,
            NOW,
        )

    async def seal(self, job: str, part: int, place: int, files: int = 1) -> None:
        await self.owner.execute(
            "INSERT INTO exports.parts (job, part, plan, place, sealed_at) VALUES ($1, $2, '{}', $3, $4)",
            job,
            part,
            place,
            NOW,
        )
        for n in range(files):
            await self.owner.execute(
                "INSERT INTO exports.files (job, part, n, kind, type, count, size, sha256, key)"
                " VALUES ($1, $2, $3, 'output', 'Patient', 1, 2, '\\x00', 'k')",
                job,
                part,
                n,
            )

    async def end(self, job: str, outcome: str = "completed") -> None:
        await self.owner.execute(
            "UPDATE status.jobs SET state = 'FINISHED', outcome = $2, finished_at = $3 WHERE job = $1",
            job,
            outcome,
            NOW,
        )


@pytest.fixture
async def place(database: Database) -> AsyncIterator[Place]:
    pool = await open_pool(database.dsn_for("gateway"), size=8)
    owner = await open_pool(database.dsn, size=1)
    yield Place(PostgresExports(pool), pool, owner)
    await owner.close()
    await pool.close()


async def test_no_more_exports_of_an_owner_run_than_admitted_however_they_race(place: Place) -> None:
    found = await asyncio.gather(*(place.admit(b"%d" % n) for n in range(20)))
    assert sum(admitted for _, admitted, _ in found) == 3
    assert (await place.admit(subject="other"))[1]
    assert (await place.admit(client="other"))[1]


async def test_the_same_export_is_admitted_once_however_it_races(place: Place) -> None:
    found = await asyncio.gather(*(place.admit(most=100, once=True) for _ in range(10)))
    (first,) = (job for job, admitted, _ in found if admitted)
    assert {twin for _, admitted, twin in found if not admitted} == {first}
    assert (await place.admit(most=100, once=False))[1]
    assert (await place.admit(b"another", most=100, once=True))[1]


async def test_an_admission_that_is_repeated_changes_nothing(place: Place) -> None:
    job, _, _ = await place.admit(most=1, once=True)
    for _ in range(2):
        assert await place.admit(job=job, most=1, once=True) == (job, True, None)
    assert not (await place.admit(b"other", most=1))[1]


@pytest.mark.parametrize("end", ["completed", "failed", "deleted", "cancelled", "expired", "dismissed"])
async def test_an_export_that_has_ended_makes_room(place: Place, end: str) -> None:
    job, _, _ = await place.admit(most=1)
    assert not (await place.admit(b"other", most=1))[1]
    if end == "dismissed":
        await place.store.dismiss(job)
    elif end == "cancelled":
        await place.plan(job)
        await place.owner.execute("UPDATE exports.jobs SET cancelled_at = now() WHERE job = $1", job)
    elif end == "deleted":
        assert await place.store.withdraw(job, NOW)
    else:
        await place.plan(job)
        await place.end(job, "failed" if end == "failed" else "completed")
        if end == "expired":
            await place.owner.execute("UPDATE exports.jobs SET keep = '0 days' WHERE job = $1", job)
    _, admitted, twin = await place.admit(most=1, once=True)
    # One that has ended well and is still kept is a twin all the same.
    assert (admitted, twin) == ((False, job) if end == "completed" else (True, None))


async def test_an_export_that_never_came_to_be_makes_room_after_an_hour(place: Place) -> None:
    await place.admit(most=1)
    late = Admission(str(uuid4()), "c", "s", b"r")
    for after, expected in ((3599, False), (3601, True)):
        at = NOW + timedelta(seconds=after)
        assert (await place.store.admit(late, at, most=1, once=False))[0] is expected


async def test_what_is_gone_is_forgotten_and_what_lives_is_not(place: Place) -> None:
    gone, living, never = [(await place.admit(b"%d" % n))[0] for n in range(3)]
    await place.plan(gone)
    await place.plan(living)
    await place.store.withdraw(gone, NOW)
    await place.store.forget(NOW + timedelta(hours=23))
    left = {str(row["job"]) for row in await place.owner.fetch("SELECT job FROM gateway.exports")}
    assert left == {living, never}
    await place.store.forget(NOW + timedelta(hours=25))
    left = {str(row["job"]) for row in await place.owner.fetch("SELECT job FROM gateway.exports")}
    assert left == {living}


async def test_a_poll_sees_an_export_from_its_plan_to_its_tombstone(place: Place) -> None:
    job = str(uuid4())
    assert await place.store.get(job) is None
    await place.plan(job, parts=2)
    row = await place.store.get(job)
    assert row is not None
    assert (row.client, row.subject, row.request, row.access) == ("c", "s", REQUEST, ACCESS)
    assert (row.parts, row.sealed, row.planned, row.outcome, row.gone) == (2, 0, True, None, False)
    await place.end(job)
    row = await place.store.get(job)
    assert row is not None
    assert (row.outcome, row.expires_at) == ("completed", NOW + timedelta(days=7))
    assert await place.store.withdraw(job, NOW)
    assert not await place.store.withdraw(job, NOW)
    row = await place.store.get(job)
    assert row is not None
    assert row.gone


async def test_an_export_that_is_deleted_before_it_is_heard_of_is_gone(place: Place) -> None:
    job = str(uuid4())
    assert await place.store.withdraw(job, NOW)
    row = await place.store.get(job)
    assert row is not None
    assert row.gone


async def test_files_are_listed_in_the_order_in_which_parts_were_sealed(place: Place) -> None:
    job = str(uuid4())
    await place.plan(job, parts=3)
    for part, at in ((2, 0), (0, 1), (1, 2)):
        await place.seal(job, part, at, files=2)
    found = await place.store.files(job, 0, None)
    assert [(file.part, file.n) for file in found] == [(2, 0), (2, 1), (0, 0), (0, 1), (1, 0), (1, 1)]
    assert [file.part for file in await place.store.files(job, 1, 2)] == [0, 0]
    row, file = await place.store.file(job, 1, 1)
    assert row is not None
    assert file is not None
    assert (file.kind, file.type, file.size, file.name) == (
        FileKind.OUTPUT,
        "Patient",
        2,
        "1.1.Patient.ndjson",
    )
    assert (await place.store.file(job, 9, 0))[1] is None
    assert await place.store.file(str(uuid4()), 0, 0) == (None, None)


async def test_imports_and_exports_are_not_taken_for_each_other(place: Place) -> None:
    job = str(uuid4())
    await place.owner.execute(
        "INSERT INTO status.jobs (job, kind, client, subject, state, submitted_at)"
        " VALUES ($1, 'document-import', 'c', 's', 'RUNNING', now())",
        job,
    )
    assert await place.store.get(job) is None
    jobs = PostgresImports(place.pool)
    assert await jobs.get("c", "s", job) is not None
    export = str(uuid4())
    await place.plan(export)
    assert await jobs.get("c", "s", export) is None
    rows, total = await jobs.page("c", "s", 10, 0)
    assert ([row.job for row in rows], total) == ([job], 1)


async def test_files_that_nobody_reads_are_given_back_at_once_and_others_are_not(place: Place) -> None:
    job = str(uuid4())
    await place.plan(job)
    downloads = Downloads(place.pool)
    count = "SELECT count(*) FROM exports.downloads"
    async with downloads.hold(job):
        await downloads.release(job)
        assert await place.owner.fetchval(count) == 1
    await downloads.release(job)
    await downloads.release(job)
    assert await place.owner.fetchval(count) == 0
    await place.store.withdraw(job, NOW)
    with pytest.raises(DeletedJobError):
        async with downloads.hold(job):
            pytest.fail("it is deleted")
