"""The fetcher's tables: planned once, kept once, batched, cleared in time, under its own role."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from sluice_contracts.commands import ConflictResolution, ImportItem, StartDocumentImport
from sluice_fetcher.janitor import Janitor
from sluice_fetcher.leavings import PostgresLeavings
from sluice_fetcher.postgres import PostgresDocuments, PostgresJobs
from sluice_fetcher.store import Body, WaitingItem
from sluice_storage.pool import open_pool
from sluice_streaming.outcomes import Unavailable
from support.stack import Database


@pytest.fixture
async def pool(module_database: Database) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(module_database.dsn_for("fetcher"), wait=10)
    yield opened
    await opened.close()


@pytest.fixture
async def admin(module_database: Database) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(module_database.dsn, wait=10)
    yield opened
    await opened.close()


def start(items: int = 3, job: str | None = None) -> StartDocumentImport:
    return StartDocumentImport(
        job=job or str(uuid4()),
        client="client",
        subject="subject",
        submitted_at=1_700_000_000.0,
        items=tuple(
            ImportItem(
                reference=f"https://h.example/DocumentReference/{number}",
                source="s1",
                project="o/p",
                folder="f",
                name="Wund\u00e4rzte.pdf" if number else None,
                metadata={"k": ["\u00e9", "b"], "n": None} if number else None,
            )
            for number in range(items)
        ),
        conflict_resolution=ConflictResolution.AUTORENAME,
        tags=("a", "b"),
    )


async def test_a_job_is_planned_once_however_often_it_is_said(pool: asyncpg.Pool) -> None:
    jobs, command = PostgresJobs(pool), start()
    await asyncio.gather(*(jobs.plan(command) for _ in range(4)))
    (row,) = await pool.fetch("SELECT * FROM documents.jobs WHERE job = $1", command.job)
    assert (row["client"], row["items"], row["tags"], row["conflict_resolution"]) == (
        "client",
        3,
        ["a", "b"],
        "AUTORENAME",
    )
    assert row["submitted_at"].timestamp() == command.submitted_at
    items = await pool.fetch("SELECT * FROM documents.items WHERE job = $1 ORDER BY item", command.job)
    assert [item["item"] for item in items] == [0, 1, 2]
    assert (items[0]["name"], items[0]["metadata"]) == (None, None)
    assert items[1]["name"] == "Wund\u00e4rzte.pdf"
    assert items[1]["metadata"].decode() == '{"k":["\u00e9","b"],"n":null}'


@pytest.mark.parametrize("cancel_first", [True, False])
async def test_a_cancelled_job_stays_cancelled_whatever_came_first(
    pool: asyncpg.Pool, cancel_first: bool
) -> None:
    jobs, documents, command = PostgresJobs(pool), PostgresDocuments(pool), start()
    if cancel_first:
        await jobs.cancel(command.job)
    await jobs.plan(command)
    await jobs.cancel(command.job)
    first = await pool.fetchval("SELECT cancelled_at FROM documents.jobs WHERE job = $1", command.job)
    await jobs.cancel(command.job)
    await jobs.plan(command)
    (row,) = await pool.fetch("SELECT * FROM documents.jobs WHERE job = $1", command.job)
    assert (row["cancelled_at"], row["items"], row["subject"]) == (first, 3, "subject")
    (waiting,) = await documents.find(command.job, [2])
    assert waiting == WaitingItem("https://h.example/DocumentReference/2", "s1", True, None)


async def test_items_are_found_and_bodies_kept_in_batches_and_the_first_body_stays(
    pool: asyncpg.Pool,
) -> None:
    jobs, documents = PostgresJobs(pool), PostgresDocuments(pool, limit=40)
    commands = [start(50) for _ in range(4)]
    for command in commands:
        await jobs.plan(command)
    # Lots of five, and more of them than one statement takes.
    lots = [(command.job, range(first, first + 5)) for command in commands for first in range(0, 50, 5)]
    bodies = [[(item, Body(f"{job}/{item}".encode(), None, "1")) for item in items] for job, items in lots]
    # Every body twice, so that batches hold one item twice too.
    await asyncio.gather(
        *(documents.keep(job, them) for (job, _), them in zip(lots * 2, bodies * 2, strict=True))
    )
    await documents.keep(lots[0][0], [(0, Body(b"later", "e", "2"))])
    found = await asyncio.gather(*(documents.find(job, items) for job, items in lots))
    assert [[item.fetched for item in them if item] for them in found] == [
        [len(body.data) for _, body in them] for them in bodies
    ]
    kept = await pool.fetchval("SELECT body FROM documents.fetched WHERE job = $1 AND item = 0", lots[0][0])
    assert kept == bodies[0][0][1].data


async def test_what_is_not_there_is_not_found_and_harms_no_other_of_its_batch(pool: asyncpg.Pool) -> None:
    jobs, documents, command = PostgresJobs(pool), PostgresDocuments(pool), start(1)
    await jobs.plan(command)
    gone = str(uuid4())
    await asyncio.gather(
        documents.keep(gone, [(0, Body(b"x", None, None))]),
        documents.keep(command.job, [(7, Body(b"x", None, None)), (0, Body(b"xy", 'W/"1"', "1"))]),
    )
    (nobody,), (here, missing) = await asyncio.gather(
        documents.find(gone, [0]), documents.find(command.job, [0, 7])
    )
    assert nobody is missing is None
    assert here is not None
    assert here.fetched == 2


async def test_the_janitor_clears_what_finished_jobs_left_and_nothing_else(
    pool: asyncpg.Pool, admin: asyncpg.Pool
) -> None:
    jobs, documents = PostgresJobs(pool), PostgresDocuments(pool)
    now = datetime.now(UTC)
    ended = {"old": now - timedelta(days=8), "recent": now - timedelta(days=1), "running": None}
    names = {name: start(2) for name in ended}
    for name, command in names.items():
        await jobs.plan(command)
        for item in range(2):
            await documents.keep(command.job, [(item, Body(b"body", None, None))])
            await pool.execute(
                "INSERT INTO documents.scraped (job, item, metadata, warnings, schema)"
                " VALUES ($1, $2, '{}', '{}', 's')",
                command.job,
                item,
            )
        await admin.execute(
            "INSERT INTO status.jobs (job, state, outcome, finished_at) VALUES ($1, $2, $3, $4)",
            command.job,
            "FINISHED" if ended[name] else "RUNNING",
            "completed" if ended[name] else None,
            ended[name],
        )
    janitor = Janitor(PostgresLeavings(pool), timedelta(days=7), now.timestamp)
    assert [await janitor.sweep() for _ in range(2)] == [4, 0]
    for name, command in names.items():
        counts = [
            await pool.fetchval(f"SELECT count(*) FROM documents.{table} WHERE job = $1", command.job)  # noqa: S608
            for table in ("items", "fetched", "scraped")
        ]
        assert counts == ([2, 0, 0] if name == "old" else [2, 2, 2])


async def test_the_fetcher_writes_nothing_that_is_not_its_own(pool: asyncpg.Pool) -> None:
    for statement in (
        "DELETE FROM status.jobs",
        "DELETE FROM sources.sources",
        "INSERT INTO status.jobs (job) VALUES ('00000000-0000-0000-0000-000000000000')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(statement)


async def test_a_database_that_is_away_is_named_so(module_database: Database) -> None:
    pool = await open_pool(module_database.dsn_for("fetcher"), wait=10)
    documents = PostgresDocuments(pool)
    await pool.close()
    with pytest.raises(Unavailable):
        await documents.find(str(uuid4()), [0])
    with pytest.raises(Unavailable):
        await PostgresJobs(pool).plan(start())
