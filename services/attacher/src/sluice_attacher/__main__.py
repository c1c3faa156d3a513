"""`python -m sluice_attacher`: streams attachments into the object store and files into projects."""

from __future__ import annotations

import time

import asyncpg

from sluice_attacher.attaching import AttachingItems
from sluice_attacher.janitor import Janitor
from sluice_attacher.postgres import PostgresItems, available
from sluice_attacher.settings import Settings
from sluice_attacher.transfer import Transfer
from sluice_contracts.commands import AttachDocuments
from sluice_contracts.topics import DOCUMENT_ATTACH
from sluice_fhir.client import FhirClient, FhirLimits
from sluice_fhir.sharing import sharing
from sluice_fhir.source_store import SourceRegistry
from sluice_security.http import GuardedClient
from sluice_storage.catalogue import Catalogue
from sluice_storage.objects import ObjectStore
from sluice_storage.pool import open_pool
from sluice_streaming.backend import Backend
from sluice_streaming.beside import beside
from sluice_streaming.limits import Limits
from sluice_streaming.lots import weigh
from sluice_streaming.rounds import repeat
from sluice_streaming.service import Context, run
from sluice_streaming.slots import idle
from sluice_streaming.step import Step
from sluice_streaming.worker import Worker

GROUP = "attacher"


async def main(context: Context) -> None:
    """Wire the service to Kafka, Postgres and the object store and run it until it is asked to stop."""
    settings = Settings()
    await serve(context, settings, settings.backend())


async def serve(context: Context, settings: Settings, backend: Backend, limits: Limits | None = None) -> None:
    """Run the service over `backend` until `context.stop` is set."""
    objects = ObjectStore.from_url(settings.objects, settings.keys)
    pool = await context.starting(open_pool(settings.postgres, size=6, application="sluice-attacher"))
    try:
        catalogue = Catalogue(pool, objects)
        janitor = Janitor(catalogue.blobs, objects, clock=time.time)
        async with (
            beside(repeat(context.stop, settings.sweep_seconds, janitor.round, "sweeping")),
            GuardedClient(
                limits=settings.http_limits,
                loopback=settings.loopback_sources,
                networks=settings.networks,
            ) as http,
            sharing(pool, GROUP, idle) as shared,
        ):
            bounds = FhirLimits(attachment=settings.attachment_limit)
            client = FhirClient(http, limits=bounds, throttle=shared.throttle)
            step = _step(settings, pool, catalogue, objects, client)
            worker = Worker(
                backend,
                GROUP,
                (step,),
                concurrency=settings.concurrency,
                limits=limits or settings.limits(),
            )
            context.watch(worker.ready)
            await worker.run(context.stop)
    finally:
        await pool.close()


def _step(
    settings: Settings, pool: asyncpg.Pool, catalogue: Catalogue, objects: ObjectStore, client: FhirClient
) -> Step[AttachDocuments]:
    sources = SourceRegistry(pool, settings.secrets, loopback=settings.loopback_sources, reading=available)
    attaching = AttachingItems(
        PostgresItems(pool, catalogue.attach, large=settings.large_document),
        sources,
        Transfer(
            client,
            objects,
            limit=settings.attachment_limit,
            large=settings.large_transfers,
        ),
        time.time,
        at_once=settings.concurrency,
        time_limit=settings.transfer_seconds,
    )
    return Step(
        topic=DOCUMENT_ATTACH,
        handle=attaching.handle,
        on_dead=attaching.reports.on_dead,
        on_retry=attaching.reports.on_retry,
        # Each item has its own time; this is for what an item's time does not end.
        time_limit=settings.transfer_seconds + 60.0,
        weigh=weigh,
    )


if __name__ == "__main__":
    run("attacher", main)
