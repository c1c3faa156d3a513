"""`python -m sluice_exporter`: plans bulk exports and writes their files."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from uuid import uuid4

from sluice_contracts.topics import BULK_EXPORT_PARTS, JOBS_BULK_EXPORT
from sluice_exporter.attachments import Attachments
from sluice_exporter.lines import Compile
from sluice_exporter.pieces import Pieces
from sluice_exporter.planning import Cutting, Planning
from sluice_exporter.postgres import PostgresJobs, PostgresParts
from sluice_exporter.provenance import ProvenanceReader
from sluice_exporter.search import compile_search
from sluice_exporter.settings import Settings
from sluice_exporter.targets import PostgresTargets, open_ranking
from sluice_exporter.writing import Writing
from sluice_storage.access.grants import Grants
from sluice_storage.exports.objects import ExportObjects
from sluice_storage.pool import open_pool
from sluice_storage.resources.copy_threads import Copies
from sluice_storage.resources.groups import Groups
from sluice_storage.resources.planner import Planner
from sluice_storage.resources.reader import Reader
from sluice_streaming.backend import Backend
from sluice_streaming.kafka import KafkaTuning
from sluice_streaming.service import Context, run
from sluice_streaming.step import Step
from sluice_streaming.worker import Worker

GROUP = "exporter"
PARTS_GROUP = "exporter-parts"
_PLANS_AT_ONCE = 4
# It says little, and whoever waits for an export waits for the last of it.
_PACE = 0.02


async def main(context: Context) -> None:
    """Wire the service to Kafka and Postgres and run it until it is asked to stop."""
    settings = Settings()
    settings.give_way()
    await serve(context, settings, settings.backend(KafkaTuning(pace=_PACE)))


async def serve(
    context: Context, settings: Settings, backend: Backend, *, compile_: Compile = compile_search
) -> None:
    """Run the service over `backend` until `context.stop` is set.

    Planning has a worker of its own, so that cancellations and small jobs do not wait behind large parts.
    """
    # Rows and resources have a pool each: whoever holds a connection of one asks for one of the other.
    opening = partial(open_pool, settings.postgres, application="sluice-exporter")
    rows = await context.starting(opening(size=_PLANS_AT_ONCE + 4))
    try:
        resources = await context.starting(opening(size=settings.parts_under_way + 2))
        copies = Copies(
            settings.postgres,
            # A part with patients' blocks reads whose they are beside what is in them.
            size=2 * settings.parts_under_way,
            working=settings.export_parts,
            application="sluice-exporter",
        )
        try:
            planner, reader = Planner(resources), Reader(resources, copies)
            cutting = Cutting(settings.export_part_bytes, settings.keep)
            planning = Planning(PostgresJobs(rows), planner, Groups(resources), cutting, time.time)
            provenance = ProvenanceReader(reader, PostgresTargets(resources), partial(open_ranking, rows))
            writing = Writing(
                PostgresParts(rows, settings.keys),
                Grants(rows),
                Pieces(reader, provenance, compile_, Attachments(settings.fhir_url)),
                ExportObjects.from_url(settings.objects),
                settings.file_limits,
                clock=time.time,
                ticks=time.monotonic,
                attempts=lambda: uuid4().hex,
            )
            await _work(context, settings, backend, planning, writing)
        finally:
            await copies.close()
            await resources.close()
    finally:
        await rows.close()


async def _work(
    context: Context, settings: Settings, backend: Backend, planning: Planning, writing: Writing
) -> None:
    plans = Step(topic=JOBS_BULK_EXPORT, handle=planning.handle, on_dead=planning.on_dead)
    parts = Step(
        topic=BULK_EXPORT_PARTS, handle=writing.handle, on_dead=writing.on_dead, on_retry=writing.on_retry
    )
    limits = settings.limits()
    workers = (
        Worker(backend, GROUP, (plans,), concurrency=_PLANS_AT_ONCE, limits=limits),
        Worker(backend, PARTS_GROUP, (parts,), concurrency=settings.parts_under_way, limits=limits),
    )
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            context.watch(worker.ready)
            group.create_task(worker.run(context.stop))


if __name__ == "__main__":
    run("exporter", main)
