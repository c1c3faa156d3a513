"""Quotas and idempotency keys on a real Postgres: shared by processes, exact, and never too generous."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from sluice_gateway.quotas import Policy
from sluice_gateway.stores.keys import PostgresKeys
from sluice_gateway.stores.quotas import PostgresQuotas
from sluice_storage.pool import open_pool
from support.stack import Database

START = 1_790_000_000.0
SMALL = Policy(name="bulk", most=20, window=300, slots=60)


@pytest.fixture
async def pools(database: Database) -> AsyncIterator[list[asyncpg.Pool]]:
    """Two pools, as two gateway processes have them."""
    opened = [await open_pool(database.dsn_for("gateway"), size=8) for _ in range(2)]
    yield opened
    for pool in opened:
        await pool.close()


async def test_processes_that_count_at_once_allow_exactly_the_limit(pools: list[asyncpg.Pool]) -> None:
    stores = [PostgresQuotas(pool) for pool in pools]
    taken = await asyncio.gather(*(stores[n % 2].take(SMALL, "portal", START) for n in range(60)))
    assert sum(allowed for allowed, _ in taken) == 20
    assert sorted(usage.used for allowed, usage in taken if allowed) == list(range(1, 21))


async def test_no_window_ever_sees_more_calls_than_the_limit(pools: list[asyncpg.Pool]) -> None:
    store = PostgresQuotas(pools[0])
    clock, allowed = START, []
    dice = random.Random(7)
    for _ in range(400):
        clock += dice.choice([0.0, 0.1, 1.0, 4.0, 20.0])
        if (await store.take(SMALL, "portal", clock))[0]:
            allowed.append(clock)
    assert len(allowed) > 2 * SMALL.most
    for at in allowed:
        assert sum(at - SMALL.window < other <= at for other in allowed) <= SMALL.most


async def test_what_is_told_to_be_free_is_free_then_and_not_before(pools: list[asyncpg.Pool]) -> None:
    store = PostgresQuotas(pools[0])
    for _ in range(SMALL.most):
        await store.take(SMALL, "portal", START)
    allowed, usage = await store.take(SMALL, "portal", START + 1)
    assert not allowed
    assert START + SMALL.window <= usage.frees <= START + SMALL.window + 2 * SMALL.width
    assert not (await store.take(SMALL, "portal", usage.frees - 0.01))[0]
    assert (await store.take(SMALL, "portal", usage.frees))[0]


async def test_reading_counts_nothing_and_agrees_with_counting(pools: list[asyncpg.Pool]) -> None:
    store = PostgresQuotas(pools[0])
    assert (await store.read(SMALL, "portal", START)).used == 0
    _, taken = await store.take(SMALL, "portal", START)
    for _ in range(3):
        read = await store.read(SMALL, "portal", START)
        assert (read.used, read.frees) == (taken.used, taken.frees)
    assert (await store.read(SMALL, "other", START)).used == 0
    assert (await store.read(SMALL, "portal", START + 1000)).used == 0


async def test_a_clock_that_lags_behind_another_process_frees_nothing(pools: list[asyncpg.Pool]) -> None:
    store = PostgresQuotas(pools[0])
    for _ in range(SMALL.most):
        await store.take(SMALL, "portal", START)
    assert not (await store.take(SMALL, "portal", START - 600))[0]


async def test_a_long_silence_empties_the_window(pools: list[asyncpg.Pool]) -> None:
    store = PostgresQuotas(pools[0])
    for _ in range(SMALL.most):
        await store.take(SMALL, "portal", START)
    allowed, usage = await store.take(SMALL, "portal", START + 10_000_000)
    assert (allowed, usage.used) == (True, 1)


async def test_of_rivals_with_one_key_all_are_given_the_first_ones_job(pools: list[asyncpg.Pool]) -> None:
    stores = [PostgresKeys(pool) for pool in pools]
    at = datetime.now(UTC)
    jobs = [str(uuid4()) for _ in range(20)]
    kept = await asyncio.gather(
        *(stores[n % 2].keep("portal", "ann", "k", b"d" * 32, job, at) for n, job in enumerate(jobs))
    )
    assert len({row.job for row in kept}) == 1
    assert kept[0].job in jobs


async def test_a_key_is_found_marked_and_in_time_forgotten(pools: list[asyncpg.Pool]) -> None:
    store, job, at = PostgresKeys(pools[0]), str(uuid4()), datetime.now(UTC)
    assert await store.find("portal", "ann", "k") is None
    await store.keep("portal", "ann", "k", b"d" * 32, job, at)
    found = await store.find("portal", "ann", "k")
    assert found is not None
    assert (found.request, found.job, found.published) == (b"d" * 32, job, False)
    assert await store.find("portal", "bob", "k") is None
    await store.published("portal", "ann", "k")
    found = await store.find("portal", "ann", "k")
    assert found is not None
    assert found.published
    assert await store.forget(at - timedelta(seconds=1)) == 0
    assert await store.forget(at + timedelta(seconds=1)) == 1
    assert await store.find("portal", "ann", "k") is None
