"""Rotating master keys: all data keys come under the newest one, and none that is destroyed comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from sluice_contracts.exports import ExpiryReason
from sluice_storage.encryption.keys import MasterKeys
from sluice_storage.encryption.rewrap import (
    CONTENTS,
    EXPORTS,
    Rewrapped,
    RewrapSettings,
    counted,
    rewrap,
    run,
)
from sluice_storage.exports.objects import data_key_name
from sluice_storage.pool import open_pool
from support.catalogue import open_bench as open_catalogue
from support.exports import Bench, open_bench, patient, start
from support.object_stores import KEYS, MASTER_KEYS
from support.stack import Database

NEW = "6e65772d6d61737465722d6b65792d6f662d7468652d74657374732d2d2d2d2d"
BOTH = MasterKeys.read(f"{NEW}\n{MASTER_KEYS}\n")
ONLY_NEW = MasterKeys.read(NEW)


@pytest.fixture
async def gateway(database: Database) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(database.dsn_for("gateway"))
    yield pool
    await pool.close()


@pytest.fixture
async def bench(database: Database, scratch: Path) -> AsyncIterator[Bench]:
    async with open_bench(database, scratch) as opened:
        await opened.store.load(patient("a"))
        yield opened


async def exported(bench: Bench, count: int) -> list[str]:
    jobs = []
    for _ in range(count):
        command = start()
        await bench.export(command)
        jobs.append(command.job)
    return jobs


async def test_what_is_rewrapped_is_opened_by_the_newest_master_key_alone(
    bench: Bench, gateway: asyncpg.Pool
) -> None:
    jobs = await exported(bench, 3)
    before = {job: (await bench.opened((await bench.files(job))[0])).key for job in jobs}
    assert await counted(gateway, EXPORTS) == {KEYS.newest: 3}
    assert await rewrap(gateway, BOTH, EXPORTS, batch=2) == Rewrapped(3, 0)
    assert await counted(gateway, EXPORTS) == {ONLY_NEW.newest: 3}
    for job in jobs:
        wrapped = await gateway.fetchval("SELECT data_key FROM exports.jobs WHERE job = $1", job)
        assert ONLY_NEW.unwrap(wrapped, data_key_name(job)) == before[job]
    # Again changes nothing.
    assert await rewrap(gateway, BOTH, EXPORTS) == Rewrapped(0, 0)


async def test_a_run_that_was_stopped_is_gone_on_with(bench: Bench, gateway: asyncpg.Pool) -> None:
    await exported(bench, 3)
    (first, *_) = await gateway.fetch(EXPORTS.stale, None, BOTH.newest, 1)
    wrapped = BOTH.rewrap(first["data_key"], EXPORTS.name(first))
    assert await gateway.fetchval(EXPORTS.change, [first["id"]], [first["data_key"]], [wrapped]) == 1
    assert await rewrap(gateway, BOTH, EXPORTS, batch=1) == Rewrapped(2, 0)


async def test_contents_of_files_are_rewrapped_too(database: Database, gateway: asyncpg.Pool) -> None:
    async with open_catalogue(database) as files:
        project = await files.project("ada")
        kept = [await files.file(project, f"{n}", b"content %d" % n) for n in range(3)]
        await files.catalogue.remove.entry("ada", await files.file(project, "gone", b"gone"))
        assert await counted(gateway, CONTENTS) == {KEYS.newest: 3}
        assert await rewrap(gateway, BOTH, CONTENTS, batch=2) == Rewrapped(3, 0)
        assert await counted(gateway, CONTENTS) == {ONLY_NEW.newest: 3}
        files.objects._keys = ONLY_NEW
        for n, entry in enumerate(kept):
            opened = await files.catalogue.entries.open("ada", entry)
            assert b"".join([bytes(piece) async for piece in opened.chunks]) == b"content %d" % n


async def test_a_key_that_is_destroyed_meanwhile_does_not_come_back(
    bench: Bench, gateway: asyncpg.Pool
) -> None:
    (job,) = await exported(bench, 1)
    (row,) = await gateway.fetch(EXPORTS.stale, None, BOTH.newest, 9)
    wrapped = BOTH.rewrap(row["data_key"], EXPORTS.name(row))
    await gateway.fetchval("SELECT exports.withdraw($1, $2, now())", job, ExpiryReason.DELETED.value)
    assert await gateway.fetchval(EXPORTS.change, [row["id"]], [row["data_key"]], [wrapped]) == 0
    assert await gateway.fetchval("SELECT data_key FROM exports.jobs WHERE job = $1", job) is None


async def test_keys_of_a_master_key_that_is_not_here_are_left_and_told(
    bench: Bench, database: Database, gateway: asyncpg.Pool
) -> None:
    await exported(bench, 2)
    told: list[str] = []
    settings = RewrapSettings(postgres=database.dsn_for("gateway"), master_keys=NEW)
    assert await run(settings, count=False, tell=told.append) == 1
    assert told[0] == "exports: 0 data keys rewrapped, 2 that cannot be unwrapped"
    assert "exports: 2 under master keys that are not here" in told
    assert await counted(gateway, EXPORTS) == {KEYS.newest: 2}


async def test_the_master_key_that_wraps_from_now_on_is_told_as_the_newest(
    bench: Bench, database: Database, gateway: asyncpg.Pool
) -> None:
    await exported(bench, 2)
    told: list[str] = []
    both = f"{NEW}\n{MASTER_KEYS}"
    settings = RewrapSettings(postgres=database.dsn_for("gateway"), master_keys=both)
    assert await run(settings, count=False, tell=told.append) == 0
    assert "exports: 2 data keys under master key 1, the newest" in told
    assert "exports: 0 data keys under master key 2" in told
