"""`python -m sluice_expirer`: deletes exports, and forgets imports and audit records, when it is time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from sluice_contracts.topics import JOBS_EXPIRE
from sluice_expirer.audit import AuditRecords
from sluice_expirer.expiring import Expiring
from sluice_expirer.imports import Imports
from sluice_expirer.postgres import PostgresJobs
from sluice_expirer.settings import Settings
from sluice_expirer.timing import DueJobs
from sluice_storage.exports.objects import ExportObjects
from sluice_storage.pool import open_pool
from sluice_streaming.backend import Backend
from sluice_streaming.rounds import repeat
from sluice_streaming.service import Context, run
from sluice_streaming.step import Step
from sluice_streaming.worker import Worker

GROUP = "expirer"
_AUDIT_SECONDS = 3_600.0


def utc_now() -> datetime:
    """Give the time."""
    return datetime.now(UTC)


async def main(context: Context) -> None:
    """Wire the service to Kafka and Postgres and run it until it is asked to stop."""
    settings = Settings()
    await serve(context, settings, settings.backend())


async def serve(
    context: Context, settings: Settings, backend: Backend, *, now: Callable[[], datetime] = utc_now
) -> None:
    """Run the service over `backend` until `context.stop` is set."""
    pool = await context.starting(open_pool(settings.postgres, size=4, application="sluice-expirer"))
    producer = backend.producer()
    jobs, objects = PostgresJobs(pool), ExportObjects.from_url(settings.objects)
    expiring = Expiring(jobs, objects, settings.longest_download, now)
    due = DueJobs(jobs, objects, producer, settle=settings.settle, now=now)
    imports = Imports(pool, keep=settings.import_keep, now=now)
    records = AuditRecords(pool, keep=settings.audit_keep, now=now)
    worker = Worker(
        backend,
        GROUP,
        (Step(topic=JOBS_EXPIRE, handle=expiring.handle),),
        concurrency=min(settings.concurrency, 8),
        limits=settings.limits(),
    )
    context.watch(worker.ready)
    try:
        await context.starting(producer.start())
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run(context.stop))
            for every, take, what in (
                (settings.expire_every, due.round, "looking for expired exports"),
                (settings.expire_every, imports.round, "looking for expired imports"),
                (_AUDIT_SECONDS, records.round, "keeping audit records"),
            ):
                group.create_task(repeat(context.stop, every, take, what))
    finally:
        await producer.stop()
        await pool.close()


if __name__ == "__main__":
    run("expirer", main)
