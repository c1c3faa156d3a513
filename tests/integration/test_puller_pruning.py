"""Replaced versions of resources go when they have had their time, and nobody needs them any more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from sluice_puller.pruning import Pruning
from sluice_storage.pool import open_pool
from sluice_storage.resources.loader import Loader
from support.resource_store import lines_of
from support.stack import Database

KEEP = timedelta(days=30)
# What still needs the first version, and what ends that.
NEEDED = {
    "an export that reads a snapshot with it": (
        (
            "INSERT INTO exports.jobs (job, client, snapshot, parts, planned_at)"
            " SELECT '{id}', 'c', min(batch), 2, now() FROM fhir.batches"
        ),
        "UPDATE exports.jobs SET sealed = parts",
    ),
    "a submission that may be stopped": (
        (
            "INSERT INTO gateway.submissions"
            " (submission, client, subject, system, submitter, name, created_at)"
            " SELECT '{id}', 'c', 's', '', '', 'n', min(time) FROM fhir.batches"
        ),
        "UPDATE gateway.submissions SET status = 'completed', ended_at = now()",
    ),
    "a job whose data are being taken back": (
        (
            "INSERT INTO pulls.jobs (job, client, submitted_at, discarded_at, removal_due)"
            " SELECT '{id}', 'c', min(time), now(), now() FROM fhir.batches"
        ),
        "UPDATE pulls.jobs SET removal_due = NULL, removed_at = now()",
    ),
}


@pytest.fixture
async def rows(database: Database) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(database.dsn_for("puller"), wait=10)
    loader = Loader(pool)
    for gender in ("male", "female", "other"):
        text = lines_of({"resourceType": "Patient", "id": "p", "gender": gender})
        await loader.load(_pieces(text), "")
    yield pool
    await pool.close()


async def _pieces(text: bytes) -> AsyncIterator[bytes]:
    yield text


async def versions(pool: asyncpg.Pool) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM fhir.resources"))


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


async def test_replaced_versions_go_when_they_have_had_their_time(rows: asyncpg.Pool) -> None:
    await Pruning(rows, KEEP, lambda: in_days(29)).round()
    assert await versions(rows) == 3
    late = Pruning(rows, KEEP, lambda: in_days(31))
    await late.round()
    await late.round()
    assert await versions(rows) == 1
    assert b"other" in await rows.fetchval("SELECT body FROM fhir.resources")


@pytest.mark.parametrize("need", NEEDED)
async def test_what_is_still_needed_stays_however_old_it_is(
    rows: asyncpg.Pool, database: Database, need: str
) -> None:
    begins, ends = NEEDED[need]
    admin = await asyncpg.connect(database.dsn)
    try:
        await admin.execute(begins.format(id=uuid4()))
        late = Pruning(rows, KEEP, lambda: in_days(1000))
        await late.round()
        assert await versions(rows) == 3
        await admin.execute(ends)
        await late.round()
        assert await versions(rows) == 1
    finally:
        await admin.close()


async def test_of_many_processes_one_removes_at_a_time(rows: asyncpg.Pool) -> None:
    late = Pruning(rows, KEEP, lambda: in_days(31))
    async with rows.acquire() as other:
        await other.execute("SELECT pg_advisory_lock(hashtext('sluice_puller.pruning'))")
        await late.round()
        assert await versions(rows) == 3
        await other.execute("SELECT pg_advisory_unlock(hashtext('sluice_puller.pruning'))")
    await late.round()
    assert await versions(rows) == 1
