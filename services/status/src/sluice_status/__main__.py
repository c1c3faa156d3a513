"""`python -m sluice_status`: folds jobs.events into Postgres and announces each job's end."""

from __future__ import annotations

import asyncio
import gc
import time

import asyncpg

from sluice_contracts.topics import JOBS_EVENTS
from sluice_status.announcer import Announcer
from sluice_status.folding import Folder
from sluice_status.pace import Pace
from sluice_status.settings import Settings
from sluice_status.store import PostgresLedger
from sluice_storage.pool import open_pool
from sluice_streaming.backend import Backend
from sluice_streaming.fold import Fold
from sluice_streaming.service import Context, run

GROUP = "status"


async def main(context: Context) -> None:
    """Wire the service to Kafka and Postgres and run it until it is asked to stop."""
    settings = Settings()
    # A span is tens of thousands of small objects that hold no cycles: looking through them time and again
    # takes a tenth of the fold.
    gc.set_threshold(100_000, 20, 100)
    await serve(context, settings, settings.backend())


async def serve(context: Context, settings: Settings, backend: Backend) -> None:
    """Run the service over `backend` until `context.stop` is set."""
    pool = await context.starting(open_pool(settings.postgres, size=3, application="sluice-status"))
    try:
        await _fold(context, settings, backend, pool)
    except ExceptionGroup as faults:
        # The supervisor tells faults apart by their type; the first one is the cause.
        raise faults.exceptions[0] from faults
    finally:
        await pool.close()


async def _fold(context: Context, settings: Settings, backend: Backend, pool: asyncpg.Pool) -> None:
    cluster = await context.starting(backend.cluster())
    producer = backend.producer()
    ledger = PostgresLedger(pool, cluster=cluster)
    announcer = Announcer(ledger, producer, lambda: folder.partitions)
    folder = Folder(ledger, Pace(settings.state_interval, time.monotonic), announcer.wake)
    fold = Fold(
        backend,
        GROUP,
        JOBS_EVENTS,
        folder.positions,
        folder.apply,
        prepare=folder.prepare,
        max_batch=settings.batch,
        pace=settings.pace,
    )
    context.watch(fold.ready)
    try:
        await context.starting(producer.start())
        async with asyncio.TaskGroup() as group:
            group.create_task(announcer.run(context.stop))
            group.create_task(fold.run(context.stop))
    finally:
        await producer.stop()
        await ledger.close()


if __name__ == "__main__":
    run("status", main)
