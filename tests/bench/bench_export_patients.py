"""Exports of groups: 100 patients of many cost what they cost of few, and a hundred jobs at once all end.

Real Postgres, and patients with ten small resources each, made here. The same group is exported from a store
with few patients, then from one with many; its members are spread over all of it. Then a hundred jobs of
other groups are planned and written at once, as many parts at a time as one exporter does. Run from the
project's root:

    PYTHONPATH=tests .venv/bin/python -m bench.bench_export_patients
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import typer
import uvloop

from bench.bench_export import Bench, apart, export, opened
from bench.measure import Figure, report
from sluice_contracts.exports import ExportLevel
from sluice_exporter.settings import Settings
from sluice_storage.pool import open_pool
from sluice_storage.resources.loader import Loader
from support.exports import start
from support.object_stores import MASTER_KEYS
from support.scratch import scratch_folder
from support.stack import Database, fresh_database, running_postgres

_OBSERVATIONS = 9
_OBSERVATION = (
    '{"resourceType":"Observation","id":"p%d-%d","status":"final","code":{"coding":[{"system":'
    '"http://loinc.org","code":"8867-4","display":"Heart rate"}],"text":"Heart rate"},"subject":{"reference":'
    '"Patient/p%d"},"effectiveDateTime":"2024-01-01T10:00:00Z","valueQuantity":{"value":72,"unit":"/min",'
    '"system":"http://unitsofmeasure.org","code":"/min"},"note":[{"text":"%s"}]}\n'
)
_PATIENT = '{"resourceType":"Patient","id":"p%d","gender":"other","birthDate":"1980-01-01"}\n'
_MEMBERS = 100


async def lines(first: int, last: int) -> AsyncIterator[bytes]:
    """Give the resources of patients from the first up to before the last."""
    for begin in range(first, last, 100):
        some = range(begin, min(begin + 100, last))
        yield "".join(_PATIENT % n for n in some).encode()
        yield "".join(
            _OBSERVATION % (n, k, n, "x" * 400) for n in some for k in range(_OBSERVATIONS)
        ).encode()


async def fill(dsn: str, held: int, patients: int, groups: int) -> None:
    """Load patients up to this many, and spread the members of groups over all of them."""
    pool = await open_pool(dsn, size=4)
    await Loader(pool).load(lines(held, patients), "made.ndjson")
    await pool.execute("DELETE FROM fhir.groups")
    for group in range(groups):
        await pool.execute("INSERT INTO fhir.groups VALUES ($1, 'api', '', now())", f"g{group}")
        members = [f"p{(group + n * patients // _MEMBERS) % patients}" for n in range(_MEMBERS)]
        await pool.execute(
            "INSERT INTO fhir.group_members SELECT $1, m, now() FROM unnest($2::text[]) AS m",
            f"g{group}",
            members,
        )
    await pool.execute("VACUUM ANALYZE fhir.resources", timeout=600)
    await pool.close()


async def group_time(bench: Bench, group: str) -> float:
    """Export a group; gives milliseconds."""
    command = start(level=ExportLevel.GROUP, group=group)
    planning, writing = bench.exporter()
    began = time.perf_counter()
    await export(command, planning, writing, asyncio.Semaphore(bench.settings.parts_under_way))
    spent = time.perf_counter() - began
    await _check(bench, command.job)
    return spent * 1000


async def at_once(bench: Bench, jobs: int) -> float:
    """Export as many groups at once, planning four at a time as the service does; gives seconds."""
    commands = [start(level=ExportLevel.GROUP, group=f"g{n}") for n in range(jobs)]
    planning, writing = bench.exporter()
    gate, plans = asyncio.Semaphore(bench.settings.parts_under_way), asyncio.Semaphore(4)
    began = time.perf_counter()

    async def one(number: int) -> None:
        async with plans:
            await export(commands[number], planning, writing, gate)

    async with bench.watching():
        await asyncio.gather(*(one(number) for number in range(jobs)))
    spent = time.perf_counter() - began
    for command in commands:
        await _check(bench, command.job)
    return spent


async def _check(bench: Bench, job: str) -> None:
    count = await bench.admin.fetchval("SELECT sum(count)::bigint FROM exports.files WHERE job = $1", job)
    if count != _MEMBERS * (1 + _OBSERVATIONS):
        raise RuntimeError(f"{count} resources were exported")
    shutil.rmtree(bench.folder / "exports" / job)


async def measure(database: Database, folder: Path, few: int, many: int, jobs: int, repeats: int) -> None:
    """Export from a store with few patients, then from one with many, then many jobs at once."""
    settings = Settings(
        postgres=database.dsn_for("exporter"), master_keys=MASTER_KEYS, objects=folder.as_uri()
    )
    figures: list[Figure] = []
    held = 0
    for patients in (few, many):
        await apart(fill, database.dsn_for("loader"), held, patients, jobs)
        held = patients
        async with opened(database, folder, settings) as bench:
            await group_time(bench, "g0")
            times = tuple([await group_time(bench, f"g{n % jobs}") for n in range(repeats)])
            figures.append(Figure(f"group of {_MEMBERS}, of {patients:,} patients", "ms", times))
            if patients == many:
                whole = await at_once(bench, jobs)
                notes = (
                    f"{bench.resources:,} resources, {_MEMBERS * (1 + _OBSERVATIONS):,} of them in a group",
                    f"{jobs} jobs at once: all ended after {whole:.1f} s, {whole / jobs * 1000:.0f} ms a job",
                    f"this process at its most: {bench.rss / 2**20:,.0f} MB RSS",
                    "asked for: cost in proportion to the patients, not to the store (100% or less)",
                )
    report(f"Export of groups ({os.cpu_count()} cores)", figures, notes)


def main(few: int = 1000, many: int = 100_000, jobs: int = 100, repeats: int = 15) -> None:
    """Measure and print."""
    with running_postgres() as server, fresh_database(server) as database, scratch_folder() as folder:
        folder.chmod(0o777)
        uvloop.run(measure(database, folder, few, many, jobs, repeats))


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    typer.run(main)
