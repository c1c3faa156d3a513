"""Jobs of every kind on a real Postgres: whose they are, what is wanted, and what is not there any more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from sluice_contracts.events import JobKind, JobOutcome
from sluice_contracts.progress import ItemRank
from sluice_gateway.models.imports import JobStateName
from sluice_gateway.models.jobs import AnyJobQuery
from sluice_gateway.paging import Window
from sluice_gateway.stores.all_jobs import PostgresAllJobs
from sluice_storage.pool import open_pool
from support.stack import Database

AT = datetime(2026, 1, 2, tzinfo=UTC)
OWNER = ("portal", "ann")


@pytest.fixture
async def pools(database: Database) -> AsyncIterator[tuple[PostgresAllJobs, asyncpg.Pool]]:
    """The store, and a pool that may write what other services write."""
    gateway, admin = await open_pool(database.dsn_for("gateway")), await open_pool(database.dsn)
    yield PostgresAllJobs(gateway), admin
    await gateway.close()
    await admin.close()


async def add(
    admin: asyncpg.Pool,
    kind: JobKind = JobKind.DOCUMENT_IMPORT,
    *,
    owner: tuple[str, str] = OWNER,
    at: datetime = AT,
    outcome: str | None = None,
) -> str:
    job = str(uuid4())
    state = "RUNNING" if outcome is None else "FINISHED"
    await admin.execute(
        "INSERT INTO status.jobs (job, kind, client, subject, state, outcome, items, submitted_at,"
        " finished_at) VALUES ($1, $2, $3, $4, $5, $6, 2, $7, $8)",
        job,
        kind.value,
        *owner,
        state,
        outcome,
        at,
        None if outcome is None else at,
    )
    return job


async def ids(store: PostgresAllJobs, owner: tuple[str, str] | None = OWNER, **query: object) -> list[str]:
    asked = AnyJobQuery.model_validate(query)
    rows, total = await store.page(owner, asked, Window.of(asked))
    assert total >= len(rows)
    return [row.job for row in rows]


async def test_owners_see_their_own_and_everyone_stands_for_all(
    pools: tuple[PostgresAllJobs, asyncpg.Pool],
) -> None:
    store, admin = pools
    mine = await add(admin, at=AT + timedelta(seconds=1))
    others = await add(admin, owner=("portal", "bob"))
    await admin.execute("INSERT INTO status.jobs (job) VALUES ($1)", str(uuid4()))
    assert await ids(store) == [mine]
    assert await ids(store, None) == [mine, others]
    assert [row.job for row in await store.some(OWNER, [mine, others])] == [mine]


async def test_a_job_waits_for_the_sources_of_what_has_not_ended(
    pools: tuple[PostgresAllJobs, asyncpg.Pool],
) -> None:
    store, admin = pools
    job, pull, export = await add(admin), await add(admin, JobKind.BULK_IMPORT), await add(admin)
    await admin.execute(
        "INSERT INTO documents.jobs (job, client, subject, conflict_resolution, tags, items, submitted_at)"
        " VALUES ($1, 'portal', 'ann', 'SKIP', '{}', 3, $2)",
        job,
        AT,
    )
    await admin.execute(
        "INSERT INTO documents.items (job, item, reference, source, project, folder)"
        " SELECT $1, item, 'r', source, 'p', 'f' FROM unnest($2::int[], $3::text[]) AS it (item, source)",
        job,
        [0, 1, 2],
        ["a", "b", "c"],
    )
    for item, rank in ((1, ItemRank.FAILED), (2, ItemRank.RETRYING)):
        await admin.execute(
            "INSERT INTO status.job_items (job, item, rank, updated_at) VALUES ($1, $2, $3, $4)",
            job,
            item,
            int(rank),
            AT,
        )
    await admin.execute(
        "INSERT INTO pulls.jobs (job, request) VALUES ($1, $2)", pull, b'{"source":"d","url":"u"}'
    )
    assert sorted(await store.waiting([job])) == [(job, "a"), (job, "c")]
    assert await store.waiting([pull]) == [(pull, "d")]
    assert sorted(await store.waiting([job, pull, export], ["b", "c", "d"])) == sorted(
        [(job, "c"), (pull, "d")]
    )
    await admin.execute("UPDATE pulls.jobs SET request = NULL WHERE job = $1", pull)
    assert await store.waiting([pull, export]) == []


async def test_what_is_wanted_is_given_and_nothing_else(pools: tuple[PostgresAllJobs, asyncpg.Pool]) -> None:
    store, admin = pools
    document = await add(admin, outcome="completed")
    export = await add(admin, JobKind.BULK_EXPORT, at=AT + timedelta(days=1))
    assert await ids(store, kind=JobKind.BULK_EXPORT) == [export]
    assert await ids(store, state=JobStateName.FINISHED) == [document]
    assert await ids(store, outcome=JobOutcome.FAILED) == []
    assert await ids(store, since=AT + timedelta(hours=1)) == [export]
    assert await ids(store, q=document[:8]) == [document]
    assert await ids(store, q="port") == [export, document]
    assert await ids(store, q="%") == []
    assert await ids(store, limit=1, offset=1) == [document]


async def test_what_was_deleted_or_has_expired_is_not_there(
    pools: tuple[PostgresAllJobs, asyncpg.Pool],
) -> None:
    store, admin = pools
    now = datetime.now(UTC)
    kept = await add(admin, JobKind.BULK_EXPORT, outcome="completed", at=now)
    expired = await add(admin, JobKind.BULK_EXPORT, outcome="completed", at=now - timedelta(days=8))
    deleted = await add(admin, JobKind.BULK_EXPORT, at=now)
    pulled = await add(admin, JobKind.BULK_IMPORT, at=now)
    for job in (kept, expired):
        await admin.execute("INSERT INTO exports.jobs (job, keep) VALUES ($1, '7 days')", job)
    await admin.execute("SELECT exports.withdraw($1, 'deleted', $2)", deleted, now)
    await admin.execute("SELECT pulls.withdraw($1, $2)", pulled, now)
    assert await ids(store) == [kept]
    assert [row.job for row in await store.some(None, [kept, expired, deleted, pulled])] == [kept]
    gone = [await store.withdrawn(job) for job in (kept, expired, deleted, pulled, str(uuid4()))]
    assert gone == [False, True, True, True, False]


async def test_items_are_given_in_their_order_and_by_their_state(
    pools: tuple[PostgresAllJobs, asyncpg.Pool],
) -> None:
    store, admin = pools
    job = await add(admin)
    for item, rank in ((1, ItemRank.FAILED), (0, ItemRank.ATTACHED), (2, ItemRank.FAILED)):
        await admin.execute(
            "INSERT INTO status.job_items (job, item, rank, updated_at) VALUES ($1, $2, $3, now())",
            job,
            item,
            int(rank),
        )
    rows, total = await store.items(job, None, Window(2, 0))
    assert ([row.item for row in rows], total) == ([0, 1], 3)
    failed, count = await store.items(job, int(ItemRank.FAILED), Window(10, 1))
    assert ([row.item for row in failed], count) == ([2], 2)


async def test_a_pull_has_when_its_source_began_and_when_references_were_looked_up(
    pools: tuple[PostgresAllJobs, asyncpg.Pool],
) -> None:
    store, admin = pools
    document, pull = await add(admin), await add(admin, JobKind.BULK_IMPORT)
    later = AT + timedelta(hours=1)
    await admin.execute("INSERT INTO pulls.jobs (job, begun_at, files) VALUES ($1, $2, 2)", pull, AT)
    lifted = "INSERT INTO status.job_items (job, item, rank, updated_at) VALUES ($1, $2, $3, $4)"
    for job in (document, pull):
        await admin.execute(lifted, job, 2, int(ItemRank.ATTACHED), later)
    rows = {row.job: row for row in await store.some(OWNER, [document, pull])}
    assert (rows[pull].begun_at, rows[pull].settled_at) == (AT, later)
    assert (rows[document].begun_at, rows[document].settled_at) == (None, None)
    await admin.execute("UPDATE status.job_items SET rank = $1", int(ItemRank.FAILED))
    (row,) = await store.some(OWNER, [pull])
    assert row.settled_at is None
