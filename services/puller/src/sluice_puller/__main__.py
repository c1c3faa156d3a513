"""`python -m sluice_puller`: kicks off exports at sources, polls them and loads their files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg

from sluice_contracts.topics import BULK_IMPORT_FILES, JOBS_BULK_IMPORT
from sluice_fhir.export_calls import ExportCalls
from sluice_fhir.sharing import Sharing, sharing
from sluice_fhir.source_calls import SourceCalls
from sluice_fhir.source_store import SourceRegistry
from sluice_fhir.source_tokens import SourceTokens
from sluice_fhir.sources import Source
from sluice_fhir.submitted import SubmittedSeal
from sluice_puller.asking import Asking
from sluice_puller.contents import Contents, Wanted
from sluice_puller.loading import Loading
from sluice_puller.postgres_files import PostgresFiles
from sluice_puller.postgres_jobs import PostgresJobs, available
from sluice_puller.postgres_notes import Notes
from sluice_puller.postgres_removals import PostgresRemovals
from sluice_puller.postgres_staging import Staging
from sluice_puller.pruning import Pruning
from sluice_puller.pulling import Pulling
from sluice_puller.removing import Removing
from sluice_puller.settings import Settings
from sluice_puller.timing import DuePolls
from sluice_security.http import GuardedClient
from sluice_storage.pool import open_pool
from sluice_storage.resources.loader import Loader
from sluice_storage.resources.withdrawing import Withdrawer
from sluice_streaming.backend import Backend
from sluice_streaming.rounds import repeat
from sluice_streaming.service import Context, run
from sluice_streaming.slots import idle
from sluice_streaming.starting import unless
from sluice_streaming.step import Step
from sluice_streaming.worker import Worker

GROUP = "puller"
FILES_GROUP = "puller-files"
_STEPS_AT_ONCE = 16
# A message is given up after so many attempts, and never because of the time that passed while we were away.
_AGE = timedelta(days=30)
# A file of ten gigabytes from a source that is slow but not too slow.
_FILE_SECONDS = 12 * 3600.0
_PRUNE_SECONDS = 3600.0


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
    """Run the service over `backend` until `context.stop` is set.

    Steps at sources have a worker of their own, so that cancellations and small jobs do not wait behind large
    files; rows and resources have a pool each, for whoever holds a connection of one asks for one of the
    other.
    """
    opening = partial(open_pool, settings.postgres, application="sluice-puller")
    rows = await context.starting(opening(size=4))
    try:
        resources = await context.starting(opening(size=2 * settings.pull_files, scans=False))
        try:
            async with (
                GuardedClient(
                    limits=settings.http_limits,
                    loopback=settings.loopback_sources,
                    networks=settings.networks,
                ) as http,
                sharing(rows, GROUP, idle) as shared,
            ):
                await _work(context, settings, backend, http, shared, rows, resources, now)
        finally:
            await resources.close()
    finally:
        await rows.close()


async def _work(
    context: Context,
    settings: Settings,
    backend: Backend,
    http: GuardedClient,
    shared: Sharing,
    rows: asyncpg.Pool,
    resources: asyncpg.Pool,
    now: Callable[[], datetime],
) -> None:
    jobs = PostgresJobs(rows)
    sources = SourceRegistry(rows, settings.secrets, loopback=settings.loopback_sources, reading=available)
    tokens = SourceTokens(http)
    calls = SourceCalls(http, tokens, clock=time.time, throttle=shared.throttle)
    remote = ExportCalls(http, tokens, calls, clock=time.time)
    producer = backend.producer()
    seal = SubmittedSeal(settings.secrets)
    due = DuePolls(jobs, producer, lease=settings.lease, every=settings.pull_every, now=now)
    asking = Asking(
        jobs,
        sources,
        remote,
        settings.patience,
        seal,
        now,
        delete=settings.pull_delete,
        depth=settings.source_depth,
        expect=due.expect,
    )
    pulling = Pulling(jobs, asking, lease=settings.lease, now=now)
    contents = Contents(
        calls,
        partial(_loader, resources, settings.pull_line_bytes),
        settings.http_limits,
        seal,
        file_bytes=settings.pull_file_bytes,
        line_bytes=settings.pull_line_bytes,
        encrypted_bytes=settings.pull_encrypted_bytes,
    )
    loading = Loading(PostgresFiles(rows), sources, contents, now)
    workers = _workers(settings, backend, pulling, loading)
    removing = Removing(PostgresRemovals(rows), Withdrawer(resources).withdraw, now)
    pruning = Pruning(rows, timedelta(days=settings.replaced_days), now)
    try:
        await context.starting(producer.start())
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                context.watch(worker.ready)
                group.create_task(worker.run(context.stop))
            for rounds in _rounds(context.stop, settings, due, removing, pruning):
                group.create_task(rounds)
    finally:
        await producer.stop()


def _workers(
    settings: Settings, backend: Backend, pulling: Pulling, loading: Loading
) -> tuple[Worker, Worker]:
    steps = Step(topic=JOBS_BULK_IMPORT, handle=pulling.handle, on_dead=pulling.on_dead, max_age=_AGE)
    files = Step(
        topic=BULK_IMPORT_FILES,
        handle=loading.handle,
        on_dead=loading.on_dead,
        on_retry=loading.on_retry,
        max_age=_AGE,
        time_limit=_FILE_SECONDS,
    )
    limits = settings.limits()
    return (
        Worker(backend, GROUP, (steps,), concurrency=_STEPS_AT_ONCE, limits=limits),
        Worker(backend, FILES_GROUP, (files,), concurrency=settings.pull_files, limits=limits),
    )


def _rounds(
    stop: asyncio.Event, settings: Settings, due: DuePolls, removing: Removing, pruning: Pruning
) -> tuple[Coroutine[Any, Any, object], ...]:
    every = settings.pull_every
    return (
        repeat(stop, every, due.round, "asking for what is due", wake=due.wake),
        # What is under way at the end is left to others.
        unless(stop, repeat(stop, every, removing.round, "taking back what was loaded")),
        repeat(stop, _PRUNE_SECONDS, pruning.round, "removing old versions"),
    )


def _loader(pool: asyncpg.Pool, line_bytes: int, wanted: Wanted, source: Source) -> Loader:
    return Loader(
        pool,
        job=wanted.job,
        source=source.id,
        claims=wanted.claims,
        base=wanted.server(source),
        line_bytes=line_bytes,
        writer=Staging(pool, wanted.job, wanted.item) if wanted.aside else None,
        noting=Notes(pool, wanted.job, aside=wanted.aside),
    )


if __name__ == "__main__":
    run("puller", main)
