"""The database is brought to the next schema while jobs run, and the version before goes on working on it.

The services of this checkout are the version before; the next schema is theirs with what a migration may do
to every table: another column, with a default and without, and another index.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from importlib.resources import as_file, files
from pathlib import Path

import psycopg

from sluice_storage.migrate import migrate
from support.invariants import check_all
from support.portal import new_portal
from support.stack import Database
from support.stack_whole import running_stack

ITEMS = 200
SERVICES = ("fetcher", "scraper", "attacher", "status", "auth", "gateway")


def rehearsal(dsn: str, folder: Path) -> Path:
    """Copy the migrations, with a next one for each table."""
    with as_file(files("sluice_storage") / "migrations") as ours:
        shutil.copytree(ours, folder)
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', nspname, relname) FROM pg_class "
            "JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE relkind IN ('r', 'p') AND NOT relispartition "
            "AND nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema', 'public')"
        ).fetchall()
    for number, (table,) in enumerate(sorted(tables)):
        (folder / f"{9000 + number}.rehearsal.sql").write_text(
            f"ALTER TABLE {table} ADD COLUMN rehearsal_a text;\n"
            f"ALTER TABLE {table} ADD COLUMN rehearsal_b bigint NOT NULL DEFAULT 0;\n"
            f"CREATE INDEX ON {table} (rehearsal_b);\n"
        )
    return folder


async def test_jobs_go_on_while_every_table_they_use_is_changed(tmp_path: Path) -> None:
    with running_stack(services=SERVICES) as stack:
        base = f"{stack.layout.source_url}/r4/fhir/DocumentReference"
        references = [f"{base}/bench-{number:06d}" for number in range(1, ITEMS + 1)]
        folder = rehearsal(stack.dsn(), tmp_path / "migrations")
        async with new_portal(stack, "while migrating") as portal:
            jobs = await portal.submit_all(references, "first")
            applied = await asyncio.to_thread(migrate, stack.dsn(), folder)
            jobs += await portal.submit_all(references, "second")
            ended = await portal.finished(jobs)
        assert len(applied) > 20
        # The second time the names are taken, which is as good as imported.
        assert sum(job["counts"]["attached"] for job in ended) == ITEMS
        assert sum(job["counts"]["skipped"] for job in ended) == ITEMS
        await asyncio.to_thread(check_all, stack, jobs, 2 * ITEMS)


def test_a_table_in_use_is_changed_later_and_holds_up_nobody_meanwhile(
    database: Database, tmp_path: Path
) -> None:
    with as_file(files("sluice_storage") / "migrations") as ours:
        shutil.copytree(ours, tmp_path / "migrations")
    change = "ALTER TABLE status.jobs ADD COLUMN rehearsal text"
    (tmp_path / "migrations" / "9000.rehearsal.sql").write_text(change)
    with psycopg.connect(database.dsn) as reader:
        reader.execute("SELECT count(*) FROM status.jobs")
        migrating = threading.Thread(target=migrate, args=(database.dsn, tmp_path / "migrations", 0.1))
        migrating.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'status.jobs'::regclass"
        with psycopg.connect(database.dsn, autocommit=True) as other:
            while other.execute(waiting).fetchone() == (0,):
                time.sleep(0.01)
            other.execute("SET statement_timeout = '30s'")
            other.execute("SELECT count(*) FROM status.jobs")
        assert migrating.is_alive()
    migrating.join()
    with psycopg.connect(database.dsn) as connection:
        connection.execute("SELECT rehearsal FROM status.jobs")
