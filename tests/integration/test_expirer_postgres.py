"""Deleting exports: for everyone to see at once, really as soon as nobody reads them, and only when due."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from sluice_contracts.commands import CancelBulkExport, ExpireJob
from sluice_contracts.events import ItemCancelled, JobExpired
from sluice_contracts.exports import ExpiryReason
from sluice_expirer.expiring import Expiring
from sluice_expirer.postgres import PostgresJobs
from sluice_expirer.timing import DueJobs
from sluice_storage.encryption.opening import ForgedObjectError, SealedObject
from sluice_storage.exports.downloads import DeletedJobError, Downloads
from sluice_storage.pool import open_pool
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.outcomes import Reject
from support.exports import Bench, open_bench, patient, start
from support.stack import Database

ENDED = datetime(2026, 1, 1, tzinfo=UTC)
LONGEST = timedelta(hours=6)


@dataclass
class Expiry:
    """An expirer over what a bench exports; `time` is its clock and the downloads'."""

    bench: Bench
    expiring: Expiring
    rounds: DueJobs
    downloads: Downloads
    admin: asyncpg.Pool
    time: list[datetime]
    published: list[Message] = field(default_factory=list)

    async def publish(self, messages: Sequence[Message]) -> None:
        self.published += messages

    async def exported(self) -> str:
        """Give a job that is written and has ended."""
        command = start()
        await self.bench.export(command)
        await self.end(command.job)
        return command.job

    async def end(self, job: str) -> None:
        await self.admin.execute(
            "INSERT INTO status.jobs (job, state, outcome, finished_at)"
            " VALUES ($1, 'FINISHED', 'completed', $2)",
            job,
            ENDED,
        )

    async def expire(self, job: str, reason: ExpiryReason = ExpiryReason.DELETED) -> list[Any]:
        command = ExpireJob(job=job, reason=reason)
        return [message.body for message in await self.expiring.handle(Delivery(command, None))]

    async def due(self) -> list[tuple[str, ExpiryReason]]:
        """Have a round and give what it asked for."""
        self.published.clear()
        await self.rounds.round()
        return [(message.body.job, message.body.reason) for message in self.published]  # type: ignore[attr-defined]


@pytest.fixture
async def expiry(database: Database, scratch: Path) -> AsyncIterator[Expiry]:
    time = [ENDED + timedelta(days=1)]
    pool = await open_pool(database.dsn_for("expirer"))
    gateway = await open_pool(database.dsn_for("gateway"))
    admin = await open_pool(database.dsn)
    async with open_bench(database, scratch) as bench:
        await bench.store.load(patient("a"), patient("b"))
        jobs = PostgresJobs(pool)
        opened = Expiry(
            bench,
            Expiring(jobs, bench.objects, LONGEST, lambda: time[0]),
            DueJobs(
                jobs,
                bench.objects,
                publisher := _Publisher(),
                settle=timedelta(hours=2),
                now=lambda: time[0],
            ),
            Downloads(gateway, lambda: time[0]),
            admin,
            time,
        )
        publisher.target = opened
        yield opened
    for each in (pool, gateway, admin):
        await each.close()


class _Publisher:
    target: Expiry

    async def publish(self, messages: Sequence[Message]) -> None:
        await self.target.publish(messages)


async def rows(expiry: Expiry, job: str) -> tuple[int, int, int]:
    found = await expiry.admin.fetchrow(
        """
        SELECT (SELECT count(*) FROM exports.files WHERE job = $1) AS files,
            (SELECT count(*) FROM exports.parts WHERE job = $1) AS parts,
            (SELECT count(*) FROM exports.downloads WHERE job = $1) AS downloads
        """,
        job,
    )
    assert found is not None
    return found["files"], found["parts"], found["downloads"]


async def test_after_expiry_no_object_and_no_row_but_a_bare_tombstone_is_left(expiry: Expiry) -> None:
    job, other = await expiry.exported(), await expiry.exported()
    half = expiry.bench.folder / "exports" / job / "7" / "0.killed.ndjson"
    half.parent.mkdir()
    half.write_bytes(b'{"resourceType":"Pat')
    (told,) = await expiry.expire(job)
    assert told == JobExpired(job=job, at=expiry.time[0].timestamp(), reason=ExpiryReason.DELETED)
    assert expiry.bench.objects_of(job) == []
    assert not (expiry.bench.folder / "exports" / job).exists()
    assert await rows(expiry, job) == (0, 0, 0)
    tombstone = await expiry.admin.fetchrow("SELECT * FROM exports.jobs WHERE job = $1", job)
    assert tombstone is not None
    assert (tombstone["request"], tombstone["access"]) == (None, None)
    assert expiry.bench.objects_of(other) != []
    assert (await rows(expiry, other))[0] == 1


async def test_a_second_delivery_changes_nothing_and_tells_the_same(expiry: Expiry) -> None:
    job = await expiry.exported()
    first = await expiry.expire(job)
    expiry.time[0] += timedelta(hours=1)
    assert await expiry.expire(job) == first
    assert await expiry.expire(job, ExpiryReason.EXPIRED) == first


async def test_a_job_goes_seven_days_after_its_end_and_not_before(expiry: Expiry) -> None:
    job = await expiry.exported()
    expiry.time[0] = ENDED + timedelta(days=7) - timedelta(seconds=1)
    assert await expiry.due() == []
    expiry.time[0] = ENDED + timedelta(days=7)
    assert await expiry.due() == [(job, ExpiryReason.EXPIRED)]
    await expiry.expire(job, ExpiryReason.EXPIRED)
    assert await expiry.due() == []


async def test_a_job_that_has_not_ended_does_not_expire(expiry: Expiry) -> None:
    await expiry.bench.export(start())
    expiry.time[0] = ENDED + timedelta(days=3000)
    assert await expiry.due() == []


async def test_rounds_find_all_that_is_due_however_many(expiry: Expiry) -> None:
    jobs = [str(uuid4()) for _ in range(450)]
    await expiry.admin.execute(
        "INSERT INTO exports.jobs (job, deleted_at, reason) SELECT unnest($1::uuid[]), $2, 'deleted'",
        jobs,
        ENDED,
    )
    assert sorted(job for job, _ in await expiry.due()) == sorted(jobs)


async def test_what_was_cancelled_or_deleted_and_not_asked_for_is_found(expiry: Expiry) -> None:
    cancelled, deleted = await expiry.exported(), await expiry.exported()
    await expiry.bench.planning.handle(Delivery(CancelBulkExport(job=cancelled), None))
    await expiry.admin.fetchval("SELECT exports.withdraw($1, 'deleted', now())", deleted)
    expiry.time[0] = datetime.now(UTC) + timedelta(minutes=1)
    assert sorted(await expiry.due()) == sorted(
        [(cancelled, ExpiryReason.CANCELLED), (deleted, ExpiryReason.DELETED)]
    )


async def everything(expiry: Expiry) -> str:
    """Give all rows of all tables, as text."""
    tables = await expiry.admin.fetch(
        "SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')"
        " AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
    )
    found = [
        await expiry.admin.fetchval(f"SELECT string_agg(t::text, '') FROM {table['name']} t")  # noqa: S608
        for table in tables
    ]
    return "".join(text or "" for text in found)


@pytest.mark.parametrize("reason", list(ExpiryReason))
async def test_what_a_backup_of_the_store_has_kept_cannot_be_decrypted_after_expiry(
    expiry: Expiry, reason: ExpiryReason
) -> None:
    job, other = await expiry.exported(), await expiry.exported()
    (row,), (others,) = await expiry.bench.files(job), await expiry.bench.files(other)
    path = expiry.bench.folder / row["key"]
    kept, opened, content = path.read_bytes(), await expiry.bench.opened(row), await expiry.bench.text(row)
    assert b"Patient" in content
    assert b"Patient" not in kept
    wrapped = await expiry.admin.fetchval("SELECT data_key FROM exports.jobs WHERE job = $1", job)
    assert wrapped.hex() in await everything(expiry)
    if reason is ExpiryReason.CANCELLED:
        await expiry.bench.planning.handle(Delivery(CancelBulkExport(job=job), None))
    # The key goes with the state, in one statement, whether or not the objects can be removed then.
    await expiry.admin.fetchval("SELECT exports.withdraw($1, $2, $3)", job, reason.value, expiry.time[0])
    for _ in range(2):
        assert wrapped.hex() not in await everything(expiry)
        await expiry.expire(job, reason)
    assert not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(kept)
    # Nothing but the key was missing, and the keys that are left do not help.
    assert await expiry.bench.text(opened) == content
    stranger = SealedObject(row["key"], row["size"], (await expiry.bench.opened(others)).key)
    with pytest.raises(ForgedObjectError):
        await expiry.bench.text(stranger)


async def test_no_file_goes_in_the_middle_of_a_download(expiry: Expiry) -> None:
    job = await expiry.exported()
    (row,) = await expiry.bench.files(job)
    download = await expiry.bench.opened(row)
    async with expiry.downloads.hold(job):
        assert await expiry.expire(job) == []
        for _ in range(5):
            expiry.time[0] += timedelta(seconds=60)
            await expiry.downloads.turn()
            assert await expiry.expire(job) == []
        assert len(await expiry.bench.text(download)) == row["size"]
        with pytest.raises(DeletedJobError):
            async with expiry.downloads.hold(job):
                pass
        expiry.time[0] += timedelta(seconds=60)
        assert await expiry.due() == [(job, ExpiryReason.DELETED)]
    await expiry.downloads.turn()
    assert [type(told) for told in await expiry.expire(job)] == [JobExpired]
    assert expiry.bench.objects_of(job) == []


async def test_a_reader_that_died_is_not_waited_for(expiry: Expiry) -> None:
    job = await expiry.exported()
    async with expiry.downloads.hold(job):
        assert await expiry.expire(job) == []
        expiry.time[0] += timedelta(seconds=91)
        assert [type(told) for told in await expiry.expire(job)] == [JobExpired]


async def test_nobody_holds_files_for_ever(expiry: Expiry) -> None:
    job = await expiry.exported()
    async with expiry.downloads.hold(job):
        assert await expiry.expire(job) == []
        expiry.time[0] += LONGEST
        await expiry.downloads.turn()
        assert [type(told) for told in await expiry.expire(job)] == [JobExpired]


async def test_downloads_of_one_job_share_a_row(expiry: Expiry) -> None:
    job = await expiry.exported()
    async with expiry.downloads.hold(job), expiry.downloads.hold(job):
        assert (await rows(expiry, job))[2] == 1
    await expiry.downloads.turn()
    assert (await rows(expiry, job))[2] == 0
    with pytest.raises(DeletedJobError):
        async with expiry.downloads.hold(str(uuid4())):
            pass


async def test_a_part_that_is_being_written_leaves_nothing_behind(expiry: Expiry) -> None:
    command = start()
    await expiry.bench.plan(command)
    seal = expiry.bench.writing._parts.seal

    async def late(*arguments: Any, **more: Any) -> Any:
        # The job goes while the part has written everything and listed nothing.
        assert expiry.bench.objects_of(command.job) != []
        await expiry.expire(command.job)
        return await seal(*arguments, **more)

    expiry.bench.writing._parts.seal = late  # type: ignore[method-assign]
    (told,) = await expiry.bench.write(command.job, 0)
    assert isinstance(told.body, ItemCancelled)
    assert expiry.bench.objects_of(command.job) == []


async def test_what_a_late_writer_left_is_swept_once_it_must_have_ended(expiry: Expiry) -> None:
    job = await expiry.exported()
    await expiry.expire(job)
    late = expiry.bench.folder / "exports" / job / "0" / "0.late.ndjson"
    late.parent.mkdir(parents=True)
    late.write_bytes(b"x")
    await expiry.due()
    assert late.exists()
    expiry.time[0] += timedelta(hours=2)
    await expiry.due()
    assert expiry.bench.objects_of(job) == []
    assert await expiry.admin.fetchval("SELECT swept_at IS NOT NULL FROM exports.jobs WHERE job = $1", job)


async def test_a_job_that_is_no_id_is_rejected_and_one_never_heard_of_is_deleted_beforehand(
    expiry: Expiry,
) -> None:
    with pytest.raises(Reject):
        await expiry.expire("../../x")
    command = start()
    assert [type(told) for told in await expiry.expire(command.job)] == [JobExpired]
    planned, *_ = await expiry.bench.plan(command)
    assert planned.body.items == 0


async def test_what_the_gateway_may_do_is_enough_to_delete_and_to_hold_and_no_more(
    expiry: Expiry, database: Database
) -> None:
    job = await expiry.exported()
    gateway = await open_pool(database.dsn_for("gateway"))
    try:
        assert await gateway.fetchval("SELECT exports.withdraw($1, 'deleted', now())", job) is True
        assert await gateway.fetchval("SELECT exports.withdraw($1, 'deleted', now())", job) is False
        for statement in ("DELETE FROM exports.files", "UPDATE exports.jobs SET sealed = 0"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await gateway.execute(statement)
    finally:
        await gateway.close()
