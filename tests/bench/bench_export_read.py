"""Reading for exports: resources a second into files, beside a bare COPY of the same bytes to files.

Real Postgres with Synthea's resources of 70 patients (see bench_load). The bare COPY gives every type's
bodies in COPY's binary format; the reader gives NDJSON out of a snapshot. Then: what it costs to read ten of
the patients, as a group and one by one. Run from the project's root:

    PYTHONPATH=tests .venv/bin/python -m bench.bench_export_read
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import psutil
import typer
import uvloop

from bench.cpu import ProcessorTime
from bench.measure import Figure, report, side_by_side
from sluice_storage.pool import open_pool
from sluice_storage.resources.copy_threads import Copies
from sluice_storage.resources.loader import Loader
from sluice_storage.resources.model import Part, Window
from sluice_storage.resources.planner import Planner
from sluice_storage.resources.reader import Reader
from sluice_storage.resources.tables import table_of
from support.resource_synthea import generated
from support.scratch import scratch_folder
from support.stack import Database, fresh_database, running_postgres


@dataclass
class Bench:
    """A loaded store, and where to write."""

    pool: asyncpg.Pool
    copies: Copies
    server: int
    folder: Path
    window: Window
    resources: int
    bytes: int
    types: list[str]
    processor: dict[str, list[float]] = field(default_factory=dict)

    async def timed(self, name: str, work: Callable[[], Awaitable[int]]) -> float:
        """Do the work, note the processor time it takes, and give resources a second."""
        processor, began = ProcessorTime(self.server), time.perf_counter()
        count = await work()
        rate = count / (time.perf_counter() - began)
        self.processor.setdefault(name, []).append(processor.per(count))
        for path in self.folder.iterdir():
            path.unlink()
        return rate

    async def bare(self) -> float:
        """COPY every type's bodies to a file."""

        async def work() -> int:
            async with self.pool.acquire() as connection:
                for type_ in self.types:
                    with (self.folder / type_).open("wb", buffering=0) as file:

                        async def sink(data: bytes) -> None:
                            file.write(data)

                        query = f"SELECT body FROM {table_of(type_)}"  # noqa: S608
                        await connection.copy_from_query(query, output=sink, format="binary", timeout=600)
            return self.resources

        return await self.timed("bare", work)

    async def read(self) -> float:
        """Plan all types, and read every part to a file."""

        async def work() -> int:
            parts = await Planner(self.pool).parts(self.types, self.window)
            count = await self.write(parts)
            if count != self.resources:
                raise RuntimeError(f"{count} resources of {self.resources}")
            return count

        return await self.timed("reader", work)

    async def write(self, parts: Sequence[Part]) -> int:
        """Read parts to a file each; give how many resources they held."""
        reader, count = Reader(self.pool, self.copies), 0
        for number, part in enumerate(parts):
            with (self.folder / str(number)).open("wb", buffering=0) as file:
                async with aclosing(reader.chunks(part, self.window)) as chunks:
                    async for chunk in chunks:
                        file.write(chunk.data)
                        count += chunk.count
        return count

    async def read_patients(self, patients: Sequence[str]) -> tuple[float, float, int]:
        """Read some patients as a group, then patient by patient; give both times and the resources."""
        began = time.perf_counter()
        parts = await Planner(self.pool).patient_parts(self.types, patients, self.window)
        count = await self.write(parts)
        grouped = time.perf_counter() - began
        began = time.perf_counter()
        seen = 0
        reader = Reader(self.pool, self.copies)
        async with aclosing(reader.by_patient(self.types, patients, self.window)) as chunks:
            async for chunk in chunks:
                seen += chunk.count
        if seen < count:
            raise RuntimeError(f"{seen} resources of {count}")
        return grouped, time.perf_counter() - began, count


async def prepare(
    pool: asyncpg.Pool, copies: Copies, server: int, files: Sequence[Path], folder: Path
) -> Bench:
    """Load the store."""
    loader = Loader(pool)
    for path in files:
        await loader.load_file(path)
    planner = Planner(pool)
    window = Window(await planner.snapshot())
    totals = await planner.types(window)
    resources = sum(total.resources for total in totals.values())
    size = sum(total.bytes for total in totals.values())
    return Bench(pool, copies, server, folder, window, resources, size, list(totals))


async def measure(database: Database, files: Sequence[Path], folder: Path, repeats: int) -> None:
    """Let bare COPY and the reader take turns, then read a few patients."""
    pool, copies = await open_pool(database.dsn, size=4), Copies(database.dsn)
    bench = await prepare(pool, copies, database.server.process.pid, files, folder)
    limit, subject = await side_by_side(
        repeats,
        ("bare COPY of the bodies", bench.bare),
        ("reader, snapshot to NDJSON", bench.read),
        "resources/s",
    )
    rows = await pool.fetch("SELECT id FROM fhir.resources WHERE type = 'Patient' ORDER BY seq LIMIT 10")
    grouped, apart, count = await bench.read_patients([row["id"] for row in rows])
    await copies.close()
    await pool.close()
    _report(bench, limit, subject, (grouped, apart, count))


def _report(bench: Bench, limit: Figure, subject: Figure, patients: tuple[float, float, int]) -> None:
    processor = {name: statistics.median(values) for name, values in bench.processor.items()}
    grouped, apart, count = patients
    notes = (
        f"{bench.resources:,} resources, {bench.bytes / 1e6:,.0f} MB of NDJSON, {len(bench.types)} types",
        f"reader: {subject.median * bench.bytes / bench.resources / 1e6:,.0f} MB/s",
        f"processor time per resource: bare {processor['bare']:.1f} us, reader {processor['reader']:.1f} us",
        f"ten patients, {count:,} resources: {grouped:.2f} s as a group, {apart:.2f} s by patient",
        f"this process: {psutil.Process().memory_info().rss / 2**20:,.0f} MB RSS",
        "asked for: 60% of the limit and 100,000 resources/s",
    )
    report(f"Read for export ({os.cpu_count()} cores)", (limit, subject), notes)


def main(patients: int = 70, repeats: int = 5) -> None:
    """Measure and print."""
    files = sorted(generated(patients).glob("*.ndjson"))
    with running_postgres() as server, fresh_database(server) as database, scratch_folder() as folder:
        uvloop.run(measure(database, files, folder, repeats))


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    typer.run(main)
