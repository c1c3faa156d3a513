"""Exporter, status and expirer as services over one log: jobs run their course, whoever dies when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from sluice_backup.unfinished import messages
from sluice_contracts.commands import CancelBulkExport, ExpireJob, WritePart
from sluice_contracts.events import JobCancelled, JobExpired, JobFinished, JobOutcome, PartSealed
from sluice_contracts.exports import ExpiryReason, IgnoredParameter, TypeFilter
from sluice_contracts.topics import BULK_EXPORT_PARTS, JOBS_BULK_EXPORT, JOBS_EVENTS, JOBS_EXPIRE
from sluice_expirer import __main__ as expirer
from sluice_expirer.settings import Settings as ExpirerSettings
from sluice_exporter import __main__ as exporter
from sluice_exporter import writing
from sluice_exporter.lines import Compile, Matches
from sluice_exporter.search import compile_search
from sluice_exporter.settings import Settings as ExporterSettings
from sluice_status import __main__ as status
from sluice_status.settings import Settings as StatusSettings
from sluice_storage.pool import open_pool
from sluice_streaming.backend import Backend
from sluice_streaming.limits import Limits
from sluice_streaming.memory import MemoryBroker
from sluice_streaming.messages import Message
from sluice_streaming.outcomes import Reject
from sluice_streaming.service import Context
from support.exports import decrypted, grant, observation, patient, start
from support.object_stores import MASTER_KEYS
from support.resource_store import open_store
from support.stack import Database
from support.streams import Mortal


@pytest.fixture
async def rows(database: Database) -> AsyncIterator[asyncpg.Pool]:
    async with open_store(database) as store:
        await store.load(*(patient(f"p{n}") for n in range(20)))
        for first in range(0, 200, 20):
            await store.load(*(observation(f"o{n}", f"p{n % 20}") for n in range(first, first + 20)))
    pool = await open_pool(database.dsn, wait=10)
    await grant(pool)
    yield pool
    await pool.close()


@asynccontextmanager
async def running(
    database: Database,
    folder: Path,
    broker: Backend,
    *names: str,
    now: Callable[[], datetime] | None = None,
    compile_: Compile = compile_search,
) -> AsyncIterator[None]:
    objects = folder.as_uri()
    made: dict[str, Callable[[Context], Any]] = {
        "exporter": lambda context: exporter.serve(
            context,
            ExporterSettings(
                postgres=database.dsn_for("exporter"),
                master_keys=MASTER_KEYS,
                objects=objects,
                export_part_bytes=4096,
            ),
            broker,
            compile_=compile_,
        ),
        "expirer": lambda context: expirer.serve(
            context,
            ExpirerSettings(postgres=database.dsn_for("expirer"), objects=objects, expire_every=0.2),
            broker,
            now=now or expirer.utc_now,
        ),
        "status": lambda context: status.serve(
            context, StatusSettings(postgres=database.dsn_for("status")), broker
        ),
    }
    contexts = [Context(name) for name in names]
    tasks = [asyncio.create_task(made[context.service](context)) for context in contexts]
    try:
        yield
    finally:
        for context in contexts:
            context.stop.set()
        await asyncio.gather(*tasks)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not true():  # noqa: ASYNC110 - what is waited for happens in the services, behind the log
            await asyncio.sleep(0.02)


def told(broker: MemoryBroker, kind: type[Any]) -> list[Any]:
    return [event for event in broker.bodies(JOBS_EVENTS) if isinstance(event, kind)]


def stored(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.ndjson")}


async def lines_in(rows: asyncpg.Pool, folder: Path) -> int:
    return sum(text.count(b"\n") for text in (await decrypted(rows, folder)).values())


async def test_a_job_runs_from_its_kick_off_to_its_expiry(
    database: Database, scratch: Path, rows: asyncpg.Pool
) -> None:
    broker = MemoryBroker()
    command = start(
        types=("Patient", "Observation"), type_filters=(TypeFilter(type="Patient", query="_id=p1,p2"),)
    )
    await broker.publish(Message(JOBS_BULK_EXPORT, command.job, command))
    time = [datetime.now(UTC)]
    async with running(database, scratch, broker, "exporter", "status", "expirer", now=lambda: time[0]):
        await until(lambda: bool(told(broker, JobFinished)))
        assert await lines_in(rows, scratch) == 202
        time[0] += timedelta(days=7, minutes=1)
        await until(lambda: bool(told(broker, JobExpired)))
    (finished,) = told(broker, JobFinished)
    parts = await rows.fetchval("SELECT parts FROM exports.jobs")
    assert (finished.outcome, finished.attached) == (JobOutcome.COMPLETED, parts)
    assert sum(event.count for event in told(broker, PartSealed)) == 202
    assert told(broker, JobExpired)[0].reason is ExpiryReason.EXPIRED
    assert stored(scratch) == set()


@pytest.mark.parametrize("look_every", [0.0, 3600.0], ids=["in the middle of a part", "at the next part"])
async def test_an_export_whose_grant_is_withdrawn_while_it_runs_is_cancelled_and_its_content_removed(
    database: Database,
    scratch: Path,
    rows: asyncpg.Pool,
    monkeypatch: pytest.MonkeyPatch,
    look_every: float,
) -> None:
    monkeypatch.setattr(writing, "LOOK_EVERY", look_every)
    broker, parts = MemoryBroker(), count(1)

    def withdrawing(type_: str, queries: Sequence[str], now: datetime, *, lenient: bool) -> Matches:
        # Parts are written two at a time: the third begins when one is done.
        if next(parts) == 3:
            with psycopg.connect(database.dsn, autocommit=True) as connection:
                connection.execute("UPDATE access.grants SET revoked_at = now(), revoked_by = 'op'")
        return compile_search(type_, queries, now, lenient=lenient)

    filters = (TypeFilter(type="Observation", query="status=final"),)
    command = start(types=("Observation",), type_filters=filters)
    await broker.publish(Message(JOBS_BULK_EXPORT, command.job, command))
    names = ("exporter", "status", "expirer")
    async with running(database, scratch, broker, *names, compile_=withdrawing):
        await until(lambda: bool(told(broker, JobFinished)) and bool(told(broker, JobExpired)))
    (finished,) = told(broker, JobFinished)
    assert finished.outcome is JobOutcome.CANCELLED
    assert finished.attached < finished.items
    assert told(broker, JobExpired)[0].reason is ExpiryReason.CANCELLED
    assert stored(scratch) == set()


async def test_an_export_of_nothing_ends(database: Database, scratch: Path, rows: asyncpg.Pool) -> None:
    broker = MemoryBroker()
    command = start(types=("Device",))
    await broker.publish(Message(JOBS_BULK_EXPORT, command.job, command))
    async with running(database, scratch, broker, "exporter", "status"):
        await until(lambda: bool(told(broker, JobFinished)))
    assert told(broker, JobFinished)[0].outcome is JobOutcome.COMPLETED


async def test_everything_delivered_twice_leaves_the_same(
    database: Database, scratch: Path, rows: asyncpg.Pool
) -> None:
    broker = MemoryBroker()
    command = start()
    for _ in range(2):
        await broker.publish(Message(JOBS_BULK_EXPORT, command.job, command))
    async with running(database, scratch, broker, "exporter", "status"):
        await until(lambda: bool(told(broker, JobFinished)))
        parts = [body.item for body in broker.bodies(BULK_EXPORT_PARTS)]
        for part in set(parts):
            again = WritePart(job=command.job, item=part)
            await broker.publish(Message(BULK_EXPORT_PARTS, f"{command.job}/{part}", again))
        count = len(parts) + len(set(parts))
        await until(lambda: len(told(broker, PartSealed)) == count)
    assert len(told(broker, JobFinished)) == 1
    assert await lines_in(rows, scratch) == 220
    assert await rows.fetchval("SELECT sum(count) FROM exports.files") == 220
    async with running(database, scratch, broker, "expirer"):
        for _ in range(2):
            expire = ExpireJob(job=command.job, reason=ExpiryReason.DELETED)
            await broker.publish(Message(JOBS_EXPIRE, command.job, expire))
        await until(lambda: len(told(broker, JobExpired)) == 2)
    assert told(broker, JobExpired)[0] == told(broker, JobExpired)[1]
    assert stored(scratch) == set()


def refusing(type_: str, queries: Sequence[str], now: datetime, *, lenient: bool) -> Matches:
    """Compile searches of Patient, and of nothing else."""
    if type_ != "Patient":
        raise Reject("internal")
    return compile_search(type_, queries, now, lenient=lenient)


@pytest.mark.parametrize(
    ("types", "outcome"),
    [
        (("Patient", "Observation"), JobOutcome.COMPLETED),
        (("Observation",), JobOutcome.FAILED),
    ],
)
async def test_a_part_that_cannot_be_written_is_told_and_fails_its_job_only_if_nothing_was_written(
    database: Database, scratch: Path, rows: asyncpg.Pool, types: tuple[str, ...], outcome: JobOutcome
) -> None:
    broker = MemoryBroker()
    ignored = (IgnoredParameter(name="_x", reason="not supported"),)
    filters = (TypeFilter(type="Observation", query="status=final"),)
    command = start(types=types, type_filters=filters, ignored=ignored)
    await broker.publish(Message(JOBS_BULK_EXPORT, command.job, command))
    context = Context("exporter")
    settings = ExporterSettings(
        postgres=database.dsn_for("exporter"), master_keys=MASTER_KEYS, objects=scratch.as_uri()
    )
    serving = asyncio.create_task(exporter.serve(context, settings, broker, compile_=refusing))
    async with running(database, scratch, broker, "status"):
        await until(lambda: bool(told(broker, JobFinished)))
    context.stop.set()
    await serving
    (finished,) = told(broker, JobFinished)
    assert (finished.outcome, finished.failed, finished.items) == (outcome, 1, len(types))
    files = await rows.fetch("SELECT type, kind, count FROM exports.files ORDER BY type")
    # A line for the part that failed, and one for the parameter that was ignored.
    lines = {(row["type"], row["kind"]): 0 for row in files}
    for row in files:
        lines[row["type"], row["kind"]] += row["count"]
    patients = {("Patient", "output"): 20} if "Patient" in types else {}
    assert lines == {("OperationOutcome", "error"): 2} | patients
    assert await rows.fetchval("SELECT sealed = parts FROM exports.jobs")


class Later(Mortal):
    """Survives the first of the steps at which it dies."""

    survives = 1

    async def reach(self, point: str) -> None:
        if point == self.at and self.survives:
            self.survives -= 1
            return
        await super().reach(point)


async def die(database: Database, scratch: Path, mortal: Mortal) -> None:
    """Run an exporter until it is dead."""
    settings = Impatient(
        postgres=database.dsn_for("exporter"),
        master_keys=MASTER_KEYS,
        objects=scratch.as_uri(),
        export_part_bytes=4096,
    )
    doomed = asyncio.create_task(exporter.serve(Context("exporter"), settings, mortal))
    async with asyncio.timeout(120):
        await mortal.dead.wait()
    doomed.cancel()
    await asyncio.gather(doomed, return_exceptions=True)


class Impatient(ExporterSettings):
    """Does not wait at its end for deliveries that will never finish."""

    def limits(self) -> Limits:
        return replace(super().limits(), stop=0.2)


@pytest.mark.parametrize("point", ["publish", "published", "commit"])
async def test_whoever_dies_in_the_middle_the_job_ends_with_every_line_once(
    database: Database, scratch: Path, rows: asyncpg.Pool, point: str
) -> None:
    broker = MemoryBroker()
    command = start()
    await broker.publish(Message(JOBS_BULK_EXPORT, command.job, command))
    await die(database, scratch, Later(broker, point))
    async with running(database, scratch, broker, "exporter", "status"):
        await until(lambda: bool(told(broker, JobFinished)))
    assert told(broker, JobFinished)[0].outcome is JobOutcome.COMPLETED
    assert await rows.fetchval("SELECT sum(count) FROM exports.files") == 220
    listed = {row["key"] for row in await rows.fetch("SELECT key FROM exports.files")}
    assert stored(scratch) >= listed


async def test_a_job_whose_log_is_lost_goes_on_from_its_rows(
    database: Database, scratch: Path, rows: asyncpg.Pool
) -> None:
    lost, broker = MemoryBroker(), MemoryBroker(name="another")
    command = start()
    await lost.publish(Message(JOBS_BULK_EXPORT, command.job, command))
    await die(database, scratch, Later(lost, "publish"))
    sealed = await rows.fetch("SELECT key FROM exports.files ORDER BY key")
    assert sealed, "some parts are sealed, of which nobody has heard"
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        unfinished = list(messages(connection))
    assert [message.body for message in unfinished] == [command]
    await broker.publish(*unfinished, *unfinished)
    async with running(database, scratch, broker, "exporter", "status"):
        await until(lambda: bool(told(broker, JobFinished)))
    (finished,) = told(broker, JobFinished)
    parts = await rows.fetchval("SELECT parts FROM exports.jobs")
    assert (finished.outcome, finished.attached) == (JobOutcome.COMPLETED, parts)
    assert await rows.fetchval("SELECT sum(count) FROM exports.files") == 220
    listed = [row["key"] for row in await rows.fetch("SELECT key FROM exports.files ORDER BY key")]
    assert {row["key"] for row in sealed} <= set(listed)


async def test_a_cancelled_job_ends_as_cancelled_and_its_files_go(
    database: Database, scratch: Path, rows: asyncpg.Pool
) -> None:
    broker = MemoryBroker()
    command = start()
    await broker.publish(Message(JOBS_BULK_EXPORT, command.job, command))
    await broker.publish(Message(JOBS_BULK_EXPORT, command.job, CancelBulkExport(job=command.job)))
    async with running(database, scratch, broker, "exporter", "status", "expirer"):
        await until(lambda: bool(told(broker, JobExpired)) and bool(told(broker, JobFinished)))
    assert len(told(broker, JobCancelled)) == 1
    assert told(broker, JobExpired)[0].reason is ExpiryReason.CANCELLED
    assert stored(scratch) == set()
