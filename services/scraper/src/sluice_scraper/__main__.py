"""`python -m sluice_scraper`: makes each document's metadata."""

from __future__ import annotations

import time

import asyncpg
import structlog

from sluice_contracts.commands import ScrapeDocuments
from sluice_contracts.topics import DOCUMENT_SCRAPE
from sluice_fhir.client import FhirClient, FhirLimits
from sluice_fhir.scrape import Scraper
from sluice_fhir.scrape_cache import SharedReads
from sluice_fhir.scrape_match import SchemaSet
from sluice_fhir.scrape_schema import SchemaError
from sluice_fhir.sharing import sharing
from sluice_fhir.source_store import SourceRegistry
from sluice_scraper.postgres import PostgresItems, available
from sluice_scraper.scraping import Scraping
from sluice_scraper.settings import Settings
from sluice_scraper.sources import SourceSchemas
from sluice_security.http import GuardedClient
from sluice_storage.pool import open_pool
from sluice_streaming.backend import Backend
from sluice_streaming.lots import weigh
from sluice_streaming.service import Context, run
from sluice_streaming.slots import idle
from sluice_streaming.step import Step
from sluice_streaming.worker import Worker

log = structlog.get_logger(__name__)

GROUP = "scraper"


async def main(context: Context) -> None:
    """Wire the service to Kafka and Postgres and run it until it is asked to stop."""
    settings = Settings()
    settings.give_way()
    await serve(context, settings, settings.backend())


async def serve(context: Context, settings: Settings, backend: Backend) -> None:
    """Run the service over `backend` until `context.stop` is set.

    Raises
    ------
    SchemaError
        A scrape schema cannot be used; the text says which, where, and what to do.
    """
    schemas = _schemas(settings)
    pool = await context.starting(open_pool(settings.postgres, size=4, application="sluice-scraper"))
    try:
        async with (
            GuardedClient(
                limits=settings.http_limits, loopback=settings.loopback_sources, networks=settings.networks
            ) as http,
            sharing(pool, GROUP, idle) as shared,
        ):
            limits = FhirLimits(document=settings.resource_limit, depth=settings.source_depth)
            client = FhirClient(http, limits=limits, throttle=shared.throttle)
            chooser = SourceSchemas(schemas, client)
            scraper = Scraper(SharedReads(ttl=settings.shared_seconds, limit=settings.shared_bytes))
            step = _step(settings, pool, client, chooser, scraper)
            worker = Worker(
                backend, GROUP, (step,), concurrency=settings.concurrency, limits=settings.limits()
            )
            context.watch(worker.ready)
            try:
                await worker.run(context.stop)
            finally:
                await scraper.shared.close()
                await chooser.close()
    finally:
        await pool.close()


def _schemas(settings: Settings) -> SchemaSet:
    try:
        return SchemaSet.load(settings.scrape_schemas)
    except SchemaError as error:
        # An author's text, not a patient's: it may be logged, and is what helps here.
        problems = [f"{problem.pointer or '/'}: {problem.text}" for problem in error.problems]
        log.error("unusable scrape schema", file=error.file, problems=problems)  # noqa: TRY400
        raise


def _step(
    settings: Settings, pool: asyncpg.Pool, client: FhirClient, chooser: SourceSchemas, scraper: Scraper
) -> Step[ScrapeDocuments]:
    sources = SourceRegistry(pool, settings.secrets, loopback=settings.loopback_sources, reading=available)
    scraping = Scraping(
        PostgresItems(pool, large=settings.large_document),
        sources,
        chooser,
        client,
        scraper,
        time.time,
        at_once=settings.concurrency,
    )
    return Step(
        topic=DOCUMENT_SCRAPE,
        handle=scraping.handle,
        on_dead=scraping.reports.on_dead,
        on_retry=scraping.reports.on_retry,
        weigh=weigh,
    )


if __name__ == "__main__":
    run("scraper", main)
