"""Loading: resources a second into the store, beside a bare COPY into a table with the same indexes.

Real Postgres; Synthea's resources of 70 patients (some 180,000, of about 1.9 KB), generated once into the
user's cache folder. The bare COPY gets files in COPY's binary format that the store itself has written. Both
begin with empty tables, and take turns. Run from the project's root:

    PYTHONPATH=tests .venv/bin/python -m bench.bench_load
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import psutil
import typer
import uvloop

from bench.cpu import ProcessorTime
from bench.measure import Figure, report, side_by_side
from sluice_storage.pool import open_pool
from sluice_storage.resources.loader import Loader
from support.resource_synthea import generated
from support.scratch import scratch_folder
from support.stack import Database, fresh_database, running_postgres

_EMPTY = (
    "TRUNCATE fhir.resources, fhir.shared, fhir.batch_types, fhir.batches, fhir.groups, fhir.group_members"
)


@dataclass
class Bench:
    """The set in both forms, and the pool of the loader's role."""

    pool: asyncpg.Pool
    server: int
    files: Sequence[Path]
    folder: Path
    resources: int = 0
    bytes: int = 0
    processor: dict[str, list[float]] = field(default_factory=dict)

    async def prepare(self) -> None:
        """Load once, and let Postgres write every table out."""
        await self.load()
        types = await self.pool.fetch("SELECT DISTINCT type FROM fhir.batch_types")
        for row in types:
            async with self.pool.acquire() as connection:
                table = f"resources_{row['type'].lower()}"
                await connection.copy_from_table(
                    table,
                    schema_name="fhir",
                    output=self.folder / table,
                    format="binary",
                    timeout=600,
                )
        self.resources = await self.pool.fetchval("SELECT count(*) FROM fhir.resources")
        self.bytes = await self.pool.fetchval("SELECT sum(size) FROM fhir.resources")

    async def empty(self) -> None:
        """Begin anew, as clean as it was."""
        await self.pool.execute(_EMPTY)
        await self.pool.execute("CHECKPOINT")

    async def bare(self) -> float:
        """COPY every table in; gives resources a second."""
        await self.empty()
        processor, began = ProcessorTime(self.server), time.perf_counter()
        async with self.pool.acquire() as connection:
            for path in sorted(self.folder.iterdir()):
                await connection.copy_to_table(
                    path.name, schema_name="fhir", source=path, format="binary", timeout=600
                )
        rate = self.resources / (time.perf_counter() - began)
        self.processor.setdefault("bare", []).append(processor.per(self.resources))
        return rate

    async def load(self) -> float:
        """Load every file; gives resources a second."""
        await self.empty()
        loader = Loader(self.pool)
        processor, began = ProcessorTime(self.server), time.perf_counter()
        created = 0
        for path in self.files:
            outcome = await loader.load_file(path)
            created += outcome.created
            if outcome.created != outcome.read:
                raise RuntimeError("not everything was loaded")
        rate = created / (time.perf_counter() - began)
        self.processor.setdefault("loader", []).append(processor.per(created))
        return rate

    async def load_again(self) -> float:
        """Load every file although it is there; gives lines a second."""
        loader = Loader(self.pool)
        began = time.perf_counter()
        unchanged = sum([(await loader.load_file(path)).unchanged for path in self.files])
        if unchanged != self.resources:
            raise RuntimeError("something was changed")
        return unchanged / (time.perf_counter() - began)


async def measure(files: Sequence[Path], database: Database, folder: Path, repeats: int) -> None:
    """Let bare COPY and the loader take turns."""
    pool = await open_pool(database.dsn, size=4)
    bench = Bench(pool, database.server.process.pid, files, folder)
    await bench.prepare()
    limit, subject = await side_by_side(
        repeats,
        ("bare COPY, same indexes", bench.bare),
        ("loader, NDJSON to readable", bench.load),
        "resources/s",
    )
    again = Figure("loader, the same again", "resources/s", (await bench.load_again(),))
    await pool.close()
    _report(bench, limit, subject, again)


def _report(bench: Bench, *figures: Figure) -> None:
    processor = {name: statistics.median(values) for name, values in bench.processor.items()}
    rss = psutil.Process().memory_info().rss
    notes = (
        f"{bench.resources:,} resources, {bench.bytes / 1e6:,.0f} MB of NDJSON, {len(bench.files)} files",
        f"processor time per resource: bare {processor['bare']:.1f} us, loader {processor['loader']:.1f} us",
        f"this process, loader included: {rss / 2**20:,.0f} MB RSS",
        "asked for: 45% of the limit",
    )
    report(f"Load ({os.cpu_count()} cores)", figures, notes)


def main(patients: int = 70, repeats: int = 5) -> None:
    """Measure and print."""
    files = sorted(generated(patients).glob("*.ndjson"))
    with running_postgres() as server, fresh_database(server) as database, scratch_folder() as folder:
        uvloop.run(measure(files, database, folder, repeats))


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    typer.run(main)
