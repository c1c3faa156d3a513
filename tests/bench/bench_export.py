"""Export: resources a second from the kick-off's command to the last sealed file, beside bare COPY to a file.

Real Postgres; Synthea's resources of 70 patients (some 180,000, of about 1.9 KB), generated once into the
user's cache folder and loaded as often as asked, each time under ids of its own. The limit is what Postgres
gives when every resource is copied to a file, in COPY's binary format, and nothing is done with it. The
subject plans a system export and writes all its parts with the exporter's own handlers. Both read what is in
the cache, and take turns. Run from the project's root:

    PYTHONPATH=tests .venv/bin/python -m bench.bench_export

With `--sizes 1 --sizes 5` the store grows in between, and all of it is measured again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import asyncpg
import psutil
import typer
import uvloop

from bench.bare_copy import copy_to_files
from bench.cpu import ProcessorTime
from bench.measure import Figure, report, side_by_side
from bench.renaming import renamed
from sluice_contracts.commands import StartBulkExport, WritePart
from sluice_contracts.exports import ExportLevel
from sluice_exporter.attachments import Attachments
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
from sluice_storage.resources.loader import Loader
from sluice_storage.resources.planner import Planner
from sluice_storage.resources.reader import Reader
from sluice_streaming.messages import Delivery
from support.exports import grant, start
from support.object_stores import KEYS, MASTER_KEYS
from support.resource_synthea import generated
from support.scratch import scratch_folder
from support.stack import Database, fresh_database, running_postgres


@dataclass
class Bench:
    """A filled store, an exporter over it, and the most memory it took."""

    pool: asyncpg.Pool
    copies: Copies
    admin: asyncpg.Pool
    folder: Path
    settings: Settings
    server: int
    resources: int = 0
    bytes: int = 0
    rss: int = 0
    processor: dict[str, list[float]] = field(default_factory=dict)

    async def bare(self) -> float:
        """Copy every resource to files; gives resources a second."""
        processor = ProcessorTime(self.server)
        seconds = await copy_to_files(self.admin, self.folder / "bare")
        self.processor.setdefault("bare", []).append(processor.per(self.resources))
        return self.resources / seconds

    async def export(self, command: StartBulkExport | None = None) -> float:
        """Plan a system export, or another, and write all its parts; gives resources a second."""
        command = command or start(level=ExportLevel.SYSTEM)
        planning, writing = self.exporter()
        processor, began = ProcessorTime(self.server), time.perf_counter()
        gate = asyncio.Semaphore(self.settings.parts_under_way)
        async with self.watching():
            await export(command, planning, writing, gate)
        seconds = time.perf_counter() - began
        count = await self.admin.fetchval(
            "SELECT sum(count)::bigint FROM exports.files WHERE job = $1", command.job
        )
        self.processor.setdefault("export", []).append(processor.per(count))
        shutil.rmtree(self.folder / "exports")
        if command.request.group is None and count != self.resources:
            raise RuntimeError(f"{count} of {self.resources} were exported")
        return float(count / seconds)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Note the most memory that this process takes."""

        async def watch() -> None:
            while True:
                self.rss = max(self.rss, psutil.Process().memory_info().rss)
                await asyncio.sleep(0.1)

        task = asyncio.create_task(watch())
        try:
            yield
        finally:
            task.cancel()

    def exporter(self) -> tuple[Planning, Writing]:
        """Give the handlers of both steps."""
        planner, reader = Planner(self.pool), Reader(self.pool, self.copies)
        provenance = ProvenanceReader(reader, PostgresTargets(self.pool), partial(open_ranking, self.pool))
        cutting = Cutting(self.settings.export_part_bytes, self.settings.keep)
        planning = Planning(PostgresJobs(self.pool), planner, Groups(self.pool), cutting, time.time)
        writing = Writing(
            PostgresParts(self.pool, KEYS),
            Grants(self.pool),
            Pieces(reader, provenance, compile_search, Attachments(self.settings.fhir_url)),
            ExportObjects.from_url(self.folder.as_uri()),
            self.settings.file_limits,
            clock=time.time,
            ticks=time.monotonic,
            attempts=lambda: uuid4().hex,
        )
        return planning, writing


async def export(
    command: StartBulkExport, planning: Planning, writing: Writing, gate: asyncio.Semaphore
) -> None:
    """Plan a job, and write its parts as far as the gate lets them."""

    async def write(part: WritePart) -> None:
        async with gate:
            await writing.handle(Delivery(part, None))

    messages = await planning.handle(Delivery(command, None))
    async with asyncio.TaskGroup() as group:
        for message in messages:
            if isinstance(message.body, WritePart):
                group.create_task(write(message.body))


async def apart(work: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
    """Do the work in a process of its own, whose memory is not the exporter's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        await asyncio.get_running_loop().run_in_executor(processes, _run, work, arguments)


def _run(work: Callable[..., Coroutine[Any, Any, None]], arguments: tuple[object, ...]) -> None:
    uvloop.run(work(*arguments))


async def fill(dsn: str, files: Sequence[Path], held: int, times: int) -> None:
    """Load the files until they are there so many times; they are there `held` times."""
    pool = await open_pool(dsn, size=4)
    for number in range(held, times):
        loader = Loader(pool)
        for path in files:
            if number:
                await loader.load(renamed(path, b"%02x" % number), path.name)
            else:
                await loader.load_file(path)
    await pool.execute("VACUUM ANALYZE fhir.resources", timeout=600)
    await pool.close()


async def measure(
    files: Sequence[Path], database: Database, folder: Path, *, sizes: Sequence[int], repeats: int, parts: int
) -> None:
    """Let bare COPY and the exporter take turns, at each size."""
    settings = Settings(
        postgres=database.dsn_for("exporter"),
        master_keys=MASTER_KEYS,
        objects=folder.as_uri(),
        export_parts=parts,
    )
    held = 0
    for times in sizes:
        await apart(fill, database.dsn_for("loader"), files, held, times)
        held = times
        async with opened(database, folder, settings) as bench:
            await bench.bare()
            limit, subject = await side_by_side(
                repeats,
                ("bare COPY to a file", bench.bare),
                ("export, kick-off to sealed files", bench.export),
                "resources/s",
            )
            _report(bench, limit, subject)


@asynccontextmanager
async def opened(database: Database, folder: Path, settings: Settings) -> AsyncIterator[Bench]:
    """Open an exporter over what is loaded."""
    pool = await open_pool(settings.postgres, size=settings.parts_under_way + 8)
    copies = Copies(settings.postgres, size=2 * settings.parts_under_way, working=settings.export_parts)
    admin = await open_pool(database.dsn, size=2)
    await grant(admin)
    bench = Bench(pool, copies, admin, folder, settings, database.server.process.pid)
    row = await admin.fetchrow(
        "SELECT count(*) AS n, sum(size)::bigint AS bytes FROM fhir.resources WHERE superseded_by IS NULL",
        timeout=600,
    )
    if row is None:
        raise RuntimeError("nothing was loaded")
    bench.resources, bench.bytes = row["n"], row["bytes"]
    try:
        yield bench
    finally:
        await copies.close()
        await pool.close()
        await admin.close()


def _report(bench: Bench, *figures: Figure) -> None:
    rate = figures[1].median * bench.bytes / bench.resources / 1e6
    processor = {name: statistics.median(values) for name, values in bench.processor.items()}
    notes = (
        f"{bench.resources:,} resources, {bench.bytes / 1e6:,.0f} MB of NDJSON, {rate:,.0f} MB/s exported",
        f"{bench.settings.export_parts} parts at once, sha256 of every file included",
        f"processor time per resource: bare {processor['bare']:.1f} us, export {processor['export']:.1f} us",
        f"this process at its most: {bench.rss / 2**20:,.0f} MB RSS",
        "asked for: 60% of the limit, 100,000 resources/s, 200 MB",
    )
    report(f"Export ({os.cpu_count()} cores)", figures, notes)


def main(
    patients: int = 70,
    sizes: Annotated[list[int], typer.Option(help="how many times the set is loaded")] = [1],  # noqa: B006
    repeats: int = 5,
    parts: int = 2,
) -> None:
    """Measure and print."""
    files = sorted(generated(patients).glob("*.ndjson"))
    with running_postgres() as server, fresh_database(server) as database, scratch_folder() as folder:
        folder.chmod(0o777)
        uvloop.run(measure(files, database, folder, sizes=sizes, repeats=repeats, parts=parts))


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    typer.run(main)
