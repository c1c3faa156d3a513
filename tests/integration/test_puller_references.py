"""What an import refers to and is not there is the same, whether marks were compared or all was looked up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from sluice_puller.postgres_notes import Notes
from sluice_puller.postgres_references import resolve
from sluice_storage.pool import open_pool
from sluice_storage.resources.loader import Loader
from sluice_storage.resources.writer import Writer
from support.resource_store import Json, ndjson
from support.stack import Database


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    found = await open_pool(database.dsn_for("puller"))
    yield found
    await found.close()


def people(*ids: str) -> list[Json]:
    return [{"resourceType": "Patient", "id": id_} for id_ in ids]


def about(*ids: str) -> list[Json]:
    focus = [{"reference": f"Patient/{id_}"} for id_ in ids]
    return [{"resourceType": "Observation", "id": "o", "focus": focus}]


async def begun(pool: asyncpg.Pool) -> str:
    job = str(uuid4())
    await pool.execute("INSERT INTO pulls.jobs (job) VALUES ($1)", job)
    return job


async def load(pool: asyncpg.Pool, job: str | None, resources: list[Json]) -> None:
    loader = Loader(pool, job=job, noting=None if job is None else Notes(pool, job))
    await loader.load(ndjson(*resources), "")


async def missing(pool: asyncpg.Pool, job: str) -> list[str]:
    await resolve(pool, job)
    rows = await pool.fetch("SELECT type, total, ids FROM pulls.unresolved WHERE job = $1 ORDER BY type", job)
    assert sum(row["total"] for row in rows) == sum(len(row["ids"]) for row in rows)
    return [f"{row['type']}/{id_}" for row in rows for id_ in row["ids"]]


@pytest.mark.parametrize("marked", [True, False])
async def test_what_is_brought_in_any_order_or_there_before_is_there_and_nothing_else(
    pool: asyncpg.Pool, marked: bool
) -> None:
    await load(pool, None, people("before", "same"))
    job = await begun(pool)
    await load(pool, job, about("first", "before", "same", "after", "never"))
    await load(pool, job, people("first", "same"))
    await load(pool, job, people("after"))
    if not marked:  # as the version before has noted it
        await pool.execute("UPDATE pulls.mentions SET marks = NULL, brought = NULL, batch = NULL")
    assert await missing(pool, job) == ["Patient/never"]
    assert await missing(pool, job) == ["Patient/never"]


@pytest.mark.parametrize("again", [False, True])
async def test_what_is_deleted_after_it_was_brought_is_not_there_unless_it_comes_again(
    pool: asyncpg.Pool, again: bool
) -> None:
    await load(pool, None, people("same", "other"))
    job = await begun(pool)
    await load(pool, job, about("new", "same", "stays"))
    await load(pool, job, people("new", "same", "stays"))
    assert await Writer(pool).delete([("Patient", "new"), ("Patient", "same"), ("Patient", "other")]) == 3
    if again:
        await load(pool, None, people("new", "same"))
    assert await missing(pool, job) == ([] if again else ["Patient/new", "Patient/same"])


async def test_a_deletion_that_was_begun_before_the_load_and_ends_after_it_counts(pool: asyncpg.Pool) -> None:
    await load(pool, None, people("same"))
    opened = await pool.fetchrow("SELECT * FROM fhir.open_batch(1, NULL, NULL, NULL)")
    assert opened is not None
    job = await begun(pool)
    await load(pool, job, about("same"))
    await load(pool, job, people("same"))
    # What a writer does between these two statements is in its batch.
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "UPDATE fhir.resources_patient SET superseded_by = $1 WHERE superseded_by IS NULL",
            opened["batch"],
        )
        await connection.execute(
            """
            INSERT INTO fhir.resources (type, id, seq, version, batch, updated, shared, deleted, size, digest)
            VALUES ('Patient', 'same', $2, 2, $1, $3, false, true, 0, '')
            """,
            *opened.values(),
        )
        await connection.execute(
            "INSERT INTO fhir.batch_types VALUES ('Patient', $1, $2, $2, 0, 0, 0, 1, 1, 1)",
            opened["batch"],
            opened["first_seq"],
        )
        await connection.execute(
            "UPDATE fhir.batches SET committed_at = now() WHERE batch = $1", opened["batch"]
        )
    assert await missing(pool, job) == ["Patient/same"]
