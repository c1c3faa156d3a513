"""Audit records: only ever added, by month, in the transaction of the act, and one for each act."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from sluice_auth.model import Action, Entry
from sluice_auth.postgres import PostgresStore
from sluice_contracts.audit import ACTS
from sluice_expirer.audit import AuditRecords
from sluice_security.callers import called_from
from sluice_storage.audit import Record, record
from sluice_storage.pool import open_pool
from support.resource_store import open_store
from support.stack import Database

NOW = datetime.now(UTC)
JOB = "00000000-0000-4000-8000-000000000001"
JOB_STEPS = {"begin", "cancel", "discard", "delete", "removed", "purge"}
ROLES = ("auth", "gateway", "fetcher", "attacher", "status", "exporter", "expirer", "puller")


@pytest.fixture
async def admin(database: Database) -> AsyncIterator[asyncpg.Pool]:
    async with await open_pool(database.dsn) as pool:
        yield pool


async def rows(pool: asyncpg.Pool, *columns: str) -> list[tuple[Any, ...]]:
    found = await pool.fetch(f"SELECT {', '.join(columns)} FROM audit.records ORDER BY id")  # noqa: S608
    return [tuple(row) for row in found]


CHANGES = (
    "UPDATE audit.records SET outcome = 0",
    "DELETE FROM audit.records",
    "TRUNCATE audit.records",
    "DROP TABLE audit.records_other",
    "DELETE FROM audit.records_other",
    "SELECT audit.ensure_month(now())",
)


async def test_no_service_changes_or_removes_a_record_and_the_gateway_alone_reads_them(
    database: Database,
) -> None:
    for role in ROLES:
        connection = await asyncpg.connect(database.dsn_for(role))
        try:
            for statement in CHANGES:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
            if role == "gateway":
                await connection.fetch("SELECT * FROM audit.records")
            else:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.fetch("SELECT * FROM audit.records")
        finally:
            await connection.close()


async def test_a_record_says_all_that_it_was_given_and_who_recorded_it(
    database: Database, admin: asyncpg.Pool
) -> None:
    full = Record(
        act="search",
        at=NOW,
        outcome=4,
        reason="not_found",
        client="portal",
        subject="ann",
        address="192.0.2.1",
        kind="Observation",
        entity="o",
        ids=("a", "b"),
        job=JOB,
        patients=("p",),
        parameters=("code",),
        items=3,
        bytes=2**40,
        request="r",
        trace="t",
    )
    async with await open_pool(database.dsn_for("gateway")) as pool:
        await record(pool, [full, Record(act="read")])
    written = await admin.fetch("SELECT * FROM audit.records ORDER BY id")
    first = dict(written[0])
    assert (first.pop("id"), first.pop("service")) == (written[0]["id"], "gateway")
    assert first.pop("job").hex == JOB.replace("-", "")
    assert first == {
        name: list(value) if isinstance(value, tuple) else value
        for name in Record.__struct_fields__
        if name != "job"
        for value in [getattr(full, name)]
    }
    assert {name for name, value in written[1].items() if value is not None} == {
        "at",
        "id",
        "act",
        "outcome",
        "service",
    }


async def revoked(store: PostgresStore, then: Callable[[], object] = lambda: None) -> None:
    async with store.begin() as work:
        await work.revoke("digest", NOW.timestamp(), NOW.timestamp() + 60)
        await work.record(Entry(NOW.timestamp(), Action.REVOKE))
        then()


async def test_an_act_that_is_undone_leaves_no_record_and_a_record_that_fails_undoes_the_act(
    database: Database, admin: asyncpg.Pool
) -> None:
    async with await open_pool(database.dsn_for("auth")) as pool:
        store = PostgresStore(pool)
        with pytest.raises(ZeroDivisionError):
            await revoked(store, then=lambda: 1 // 0)
        assert await rows(admin, "act") == []
        await admin.execute("ALTER TABLE audit.records ADD CONSTRAINT broken CHECK (act <> 'revoke')")
        with pytest.raises(asyncpg.CheckViolationError):
            await revoked(store)
        assert await store.revoked(NOW.timestamp()) == {}


async def test_what_the_authorization_server_does_is_recorded_with_where_it_was_asked_from(
    database: Database, admin: asyncpg.Pool
) -> None:
    async with await open_pool(database.dsn_for("auth")) as pool:
        with called_from("2001:db8::1"):
            async with PostgresStore(pool).begin() as work:
                await work.record(Entry(NOW.timestamp(), Action.TOKEN, "ok", "portal", "ann", "jti-1"))
        async with PostgresStore(pool).begin() as work:
            await work.record(Entry(NOW.timestamp(), Action.TOKEN, "invalid_client"))
    assert await rows(admin, "act", "outcome", "reason", "client", "kind", "entity", "address") == [
        ("token", 0, None, "portal", "token", "jti-1", "2001:db8::1"),
        ("token", 8, "invalid_client", None, None, None, None),
    ]
    assert set(Action) <= ACTS.keys()


async def test_what_the_version_before_writes_arrives_too(database: Database, admin: asyncpg.Pool) -> None:
    connection = await asyncpg.connect(database.dsn_for("auth"))
    await connection.execute(
        "INSERT INTO auth.audit (at, action, outcome, client_id) VALUES (now(), 'register', 'ok', 'c')"
    )
    await connection.close()
    assert await rows(admin, "act", "outcome", "reason", "service", "client") == [
        ("register", 0, None, "auth", "c")
    ]
    assert await admin.fetchval("SELECT count(*) FROM auth.audit") == 0


async def months(admin: asyncpg.Pool) -> list[str]:
    found = await admin.fetch(
        "SELECT relname FROM pg_class JOIN pg_inherits ON oid = inhrelid"
        " WHERE inhparent = 'audit.records'::regclass ORDER BY relname"
    )
    return [row["relname"] for row in found]


async def test_records_go_by_months_when_they_are_old_enough(database: Database, admin: asyncpg.Pool) -> None:
    then = [datetime(2040, 1, 31, tzinfo=UTC)]
    async with await open_pool(database.dsn_for("expirer")) as pool:
        keeping = AuditRecords(pool, keep=timedelta(days=60), now=lambda: then[0])
        early, late = datetime(2040, 1, 1, tzinfo=UTC), datetime(2040, 2, 1, tzinfo=UTC)
        # Before anybody has made their months: they are kept all the same, and move to them.
        await record(admin, [Record(act="read", at=early), Record(act="search", at=late)])
        for _ in range(2):
            await keeping.round()
            assert (await months(admin))[-5:] == [
                *(f"records_2040{month:02}" for month in (1, 2, 3, 4)),
                "records_other",
            ]
        assert await admin.fetchval("SELECT count(*) FROM audit.records_other") == 0
        then[0] = datetime(2040, 3, 31, tzinfo=UTC)
        await keeping.round()
        assert await rows(admin, "act") == [("read",), ("search",)]
        then[0] = datetime(2040, 4, 1, tzinfo=UTC)
        await keeping.round()
        assert await rows(admin, "act") == [("search",)]
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await pool.fetchval("SELECT audit.upkeep(now(), interval '29 days')")


async def exported(pool: asyncpg.Pool, job: str, then: Callable[[], object] = lambda: None) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO exports.jobs (job, client, subject, submitted_at) VALUES ($1, 'c', 's', now())"
            " ON CONFLICT (job) DO UPDATE SET submitted_at = excluded.submitted_at",
            job,
        )
        then()


async def test_an_exports_life_is_recorded_once_however_often_it_is_told(
    database: Database, admin: asyncpg.Pool
) -> None:
    job = str(uuid4())
    async with await open_pool(database.dsn_for("exporter")) as pool:
        for _ in range(2):
            await exported(pool, job)
    async with await open_pool(database.dsn_for("expirer")) as pool:
        for _ in range(2):
            await pool.fetchval("SELECT exports.withdraw($1, 'expired', now())", job)
            await pool.execute(
                "UPDATE exports.jobs SET purged_at = coalesce(purged_at, now()) WHERE job = $1", job
            )
    assert await rows(admin, "act", "reason", "service", "client", "subject", "entity") == [
        ("export.begin", None, "exporter", "c", "s", job),
        ("export.delete", "expired", "expirer", "c", "s", job),
        ("export.purge", "expired", "expirer", "c", "s", job),
    ]


async def test_an_act_and_its_record_are_there_both_or_not_at_all(
    database: Database, admin: asyncpg.Pool
) -> None:
    async with await open_pool(database.dsn_for("exporter")) as pool:
        with pytest.raises(ZeroDivisionError):
            await exported(pool, JOB, then=lambda: 1 // 0)
        assert await rows(admin, "act") == []
        await admin.execute("ALTER TABLE audit.records ADD CONSTRAINT broken CHECK (act <> 'export.begin')")
        with pytest.raises(asyncpg.CheckViolationError):
            await exported(pool, JOB)
    assert await admin.fetchval("SELECT count(*) FROM exports.jobs") == 0


async def test_a_bulk_import_is_recorded_with_each_of_its_files(
    database: Database, admin: asyncpg.Pool
) -> None:
    async with await open_pool(database.dsn_for("puller")) as pool:
        await pool.execute(
            "INSERT INTO pulls.jobs (job, client, subject, submitted_at) VALUES ($1, 'c', 's', now())", JOB
        )
        await pool.execute(
            "INSERT INTO pulls.files (job, item, kind) VALUES ($1, 0, 'output'), ($1, 1, 'output')", JOB
        )
        for _ in range(2):
            await pool.execute(
                "UPDATE pulls.files SET settled_at = coalesce(settled_at, now()), read = 7, size = 70,"
                " failed = CASE item WHEN 1 THEN 'gone' END WHERE job = $1",
                JOB,
            )
    async with await open_pool(database.dsn_for("gateway")) as pool:
        for _ in range(2):
            await pool.fetchval("SELECT pulls.withdraw($1, now())", JOB)
    assert await rows(admin, "act", "outcome", "reason", "service", "client", "entity", "items", "bytes") == [
        ("bulk-import.begin", 0, None, "puller", "c", JOB, None, None),
        ("bulk-import.load", 0, None, "puller", "c", f"{JOB}.0", 7, 70),
        ("bulk-import.load", 8, "gone", "puller", "c", f"{JOB}.1", 7, 70),
        ("bulk-import.cancel", 0, None, "gateway", "c", JOB, None, None),
        ("bulk-import.delete", 0, "deleted", "gateway", "c", JOB, None, None),
    ]


async def test_files_are_recorded_by_job_with_what_was_attached(
    database: Database, admin: asyncpg.Pool
) -> None:
    async with await open_pool(database.dsn_for("fetcher")) as pool:
        for _ in range(2):
            await pool.execute(
                "INSERT INTO documents.jobs (job, client, subject, conflict_resolution, tags, items,"
                " submitted_at) VALUES ($1, 'c', 's', 'SKIP', '{}', 3, now()) ON CONFLICT (job) DO UPDATE SET"
                " items = excluded.items WHERE jobs.items = 0",
                JOB,
            )
    async with await open_pool(database.dsn_for("attacher")) as pool:
        await pool.execute(
            "INSERT INTO files.imports (job, item, outcome, entry, size, others, at) VALUES"
            " ($1, 0, 'created', 'a', 5, 0, now()), ($1, 1, 'skipped', 'b', 5, 0, now()),"
            " ($1, 2, 'replaced', 'c', 6, 0, now()), ($2, 0, 'skipped', 'd', 5, 0, now())",
            JOB,
            str(uuid4()),
        )
    assert await rows(admin, "act", "service", "client", "kind", "ids", "items", "bytes") == [
        ("document-import.begin", "fetcher", "c", "job", None, 3, None),
        ("document-import.attach", "attacher", "c", "file", ["a", "c"], 2, 11),
    ]


async def test_what_is_loaded_is_recorded_by_batch(database: Database, admin: asyncpg.Pool) -> None:
    async with open_store(database) as store:
        for _ in range(2):
            await store.load({"resourceType": "Patient", "id": "p"}, {"resourceType": "Basic", "id": "b"})
    ((items, size, *rest),) = await rows(admin, "items", "bytes", "act", "service", "kind")
    assert (items, size > 0, rest) == (2, True, ["load", "loader", "batch"])


async def test_every_act_that_a_trigger_records_is_one_that_can_be_read(admin: asyncpg.Pool) -> None:
    sources = await admin.fetch(
        "SELECT prosrc FROM pg_proc WHERE pronamespace = 'audit'::regnamespace AND proname LIKE 'of_%'"
    )
    quoted = {word for row in sources for word in re.findall(r"'([a-z-][a-z.-]*)'", row["prosrc"])}
    jobs = {f"{kind}.{step}" for kind in ("export", "bulk-import") for step in JOB_STEPS}
    assert {word for word in quoted if "." in word} <= ACTS.keys()
    assert quoted >= JOB_STEPS
    # An export is not taken back, and what an import loaded is removed, not purged.
    assert jobs - ACTS.keys() == {"export.discard", "export.removed", "bulk-import.purge"}
