"""`python -m sluice_fetcher`: plans document imports and fetches each DocumentReference."""

from __future__ import annotations

import time
from typing import Any

import asyncpg

from sluice_contracts.topics import DOCUMENT_FETCH, JOBS_DOCUMENT_IMPORT
from sluice_fetcher.fetching import Fetching
from sluice_fetcher.janitor import Janitor
from sluice_fetcher.leavings import PostgresLeavings
from sluice_fetcher.planner import Planner
from sluice_fetcher.postgres import PostgresDocuments, PostgresJobs, available
from sluice_fetcher.searching import Searching
from sluice_fetcher.settings import Settings
from sluice_fhir.client import FhirClient, FhirLimits
from sluice_fhir.sharing import sharing
from sluice_fhir.source_store import SourceRegistry
from sluice_security.http import GuardedClient
from sluice_security.http_budget import MemoryBudget
from sluice_storage.pool import open_pool
from sluice_streaming.backend import Backend
from sluice_streaming.beside import beside
from sluice_streaming.lots import weigh
from sluice_streaming.rounds import repeat
from sluice_streaming.service import Context, run
from sluice_streaming.slots import idle
from sluice_streaming.step import Step
from sluice_streaming.worker import Worker

GROUP = "fetcher"


async def main(context: Context) -> None:
    """Wire the service to Kafka and Postgres and run it until it is asked to stop."""
    settings = Settings()
    settings.give_way()
    await serve(context, settings, settings.backend())


async def serve(context: Context, settings: Settings, backend: Backend) -> None:
    """Run the service over `backend` until `context.stop` is set."""
    pool = await context.starting(open_pool(settings.postgres, size=4, application="sluice-fetcher"))
    try:
        async with (
            GuardedClient(
                limits=settings.http_limits, loopback=settings.loopback_sources, networks=settings.networks
            ) as http,
            sharing(pool, GROUP, idle) as shared,
        ):
            limits = FhirLimits(document=settings.document_limit, depth=settings.source_depth)
            client = FhirClient(http, limits=limits, throttle=shared.throttle)
            budget = MemoryBudget(settings.documents_in_flight)
            searching = Searching(client, budget)
            worker = Worker(
                backend,
                GROUP,
                _steps(settings, pool, client, budget, searching),
                concurrency=settings.concurrency,
                limits=settings.limits(),
            )
            context.watch(worker.ready)
            janitor = Janitor(PostgresLeavings(pool), settings.keep, time.time)
            clearing = repeat(context.stop, settings.sweep_interval, janitor.round, "clearing finished jobs")
            async with beside(clearing):
                try:
                    await worker.run(context.stop)
                finally:
                    await searching.close()
    finally:
        await pool.close()


def _steps(
    settings: Settings, pool: asyncpg.Pool, client: FhirClient, budget: MemoryBudget, searching: Searching
) -> tuple[Step[Any], ...]:
    sources = SourceRegistry(pool, settings.secrets, loopback=settings.loopback_sources, reading=available)
    planner = Planner(PostgresJobs(pool), time.time)
    fetching = Fetching(
        PostgresDocuments(pool),
        sources,
        client,
        budget,
        time.time,
        at_once=settings.concurrency,
        searching=searching,
    )
    return (
        Step(topic=JOBS_DOCUMENT_IMPORT, handle=planner.handle, on_dead=planner.on_dead),
        Step(
            topic=DOCUMENT_FETCH,
            handle=fetching.handle,
            on_dead=fetching.reports.on_dead,
            on_retry=fetching.reports.on_retry,
            weigh=weigh,
        ),
    )


if __name__ == "__main__":
    run("fetcher", main)
