"""Bulk import: resources a second from the 202 to the job's end, beside bare HTTP download and COPY.

The whole stack, and a source in a process of its own that exports Synthea's resources of 70 patients (some
180,000, of about 1.9 KB) as NDJSON. The limit: the same resources in COPY's binary format, downloaded from
that source with aiohttp and passed on to COPY into one table with the store's indexes, two files at a time,
without a look at them. Both begin with empty tables, and take turns. Run from the project's root:

    PYTHONPATH=tests .venv/bin/python -m bench.bench_pull

With `--sizes 1 --sizes 10` the same is measured with ten times the resources, under ids of their own; with
`--pullers 2` two processes share a job's files.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import aiohttp
import asyncpg
import typer
import uvloop

from bench.measure import Figure, console, report, side_by_side
from bench.renaming import renamed
from bench.stack_watch import peaks, processor_seconds, shown_peaks, shown_shares
from sluice_client import SluiceClient
from sluice_stack.processes import Process, answers, free_port, wait_until
from sluice_stack.stack import Stack
from support.resource_synthea import generated
from support.scratch import scratch_folder
from support.stack_export import operator
from support.stack_whole import running_stack

_EMPTY = (
    "TRUNCATE fhir.resources, fhir.shared, fhir.batch_types, fhir.batches, fhir.groups, fhir.group_members"
)
_TABLE = """
CREATE SCHEMA bare;
CREATE TABLE bare.resources (LIKE fhir.resources);
ALTER TABLE bare.resources ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX ON bare.resources (type, id) WHERE superseded_by IS NULL;
CREATE INDEX ON bare.resources (seq);
CREATE INDEX ON bare.resources (patient, seq) WHERE patient IS NOT NULL;
CREATE INDEX ON bare.resources (superseded_by) WHERE superseded_by IS NOT NULL;
"""
_FILES_AT_ONCE = 2
_PIECE = 256 * 1024
_LONGEST = 3600


@dataclass
class Bench:
    """A running stack, a source with files, and a database to empty."""

    stack: Stack
    admin: asyncpg.Pool
    origin: str
    folder: Path
    client: SluiceClient
    resources: int = 0
    bytes: int = 0
    shares: list[str] = field(default_factory=list)

    async def empty(self) -> None:
        """Begin anew, as clean as it was."""
        await self.admin.execute(_EMPTY)
        await self.admin.execute("TRUNCATE bare.resources")
        await self.admin.execute("CHECKPOINT", timeout=600)

    async def prepare(self) -> None:
        """Import once, and let Postgres write every table out."""
        await self.bulk_import()
        for row in await self.admin.fetch("SELECT DISTINCT type FROM fhir.batch_types"):
            async with self.admin.acquire() as connection:
                table = f"resources_{row['type'].lower()}"
                await connection.copy_from_table(
                    table,
                    schema_name="fhir",
                    output=self.folder / f"{table}.copy",
                    format="binary",
                    timeout=_LONGEST,
                )
        found = await self.admin.fetchrow("SELECT count(*), sum(size)::bigint FROM fhir.resources")
        if found is None:
            raise RuntimeError("nothing was imported")
        self.resources, self.bytes = found

    async def bare(self) -> float:
        """Download every file and COPY it in; gives resources a second."""
        await self.empty()
        waiting = iter(sorted(path.name for path in self.folder.glob("*.copy")))
        began = time.perf_counter()

        async def work(http: aiohttp.ClientSession) -> None:
            for name in waiting:
                async with self.admin.acquire() as connection:
                    await connection.copy_to_table(
                        "resources",
                        schema_name="bare",
                        source=_download(http, f"{self.origin}/files/{name}"),
                        format="binary",
                        timeout=_LONGEST,
                    )

        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_LONGEST)) as http:
            await asyncio.gather(*(work(http) for _ in range(_FILES_AT_ONCE)))
        return self.resources / (time.perf_counter() - began)

    async def bulk_import(self) -> float:
        """Import what the source exports; gives resources a second."""
        await self.empty()
        parameter = {"name": "exportUrl", "valueUrl": f"{self.origin}/fhir/$export"}
        body = {"resourceType": "Parameters", "parameter": [parameter]}
        before = processor_seconds(self.stack)
        async with aiohttp.ClientSession(self.stack.addresses.gateway) as http:
            headers = {"Authorization": f"Bearer {await self.client.token()}"}
            async with http.post("/fhir/$import", json=body, headers=headers) as answer:
                if answer.status != 202:
                    raise RuntimeError(f"the kick-off was answered with {answer.status}")
                job = answer.headers["Content-Location"].rpartition("/")[2]
        began = time.perf_counter()
        await self._ended(job)
        seconds = time.perf_counter() - began
        read = await self.admin.fetchval("SELECT sum(created)::bigint FROM pulls.files WHERE job = $1", job)
        self.shares.append(shown_shares(before, processor_seconds(self.stack), read // 1000))
        if self.resources and read != self.resources:
            raise RuntimeError(f"{read} of {self.resources} were imported")
        return float(read / seconds)

    async def _ended(self, job: str) -> None:
        """Wait for the status that polls are answered from, without the pause that a client makes."""
        async with asyncio.timeout(_LONGEST):
            while True:
                outcome = await self.admin.fetchval(
                    "SELECT outcome FROM status.jobs WHERE job = $1 AND finished_at IS NOT NULL", job
                )
                if outcome == "completed":
                    return
                if outcome is not None:
                    raise RuntimeError(f"the job ended {outcome}")
                await asyncio.sleep(0.02)


async def _download(http: aiohttp.ClientSession, url: str) -> AsyncIterator[bytes]:
    async with http.get(url) as answer:
        async for piece in answer.content.iter_chunked(_PIECE):
            yield piece


async def fill(folder: Path, files: Sequence[Path], held: int, times: int) -> None:
    """Put the files into the source's folder until they are there so many times."""
    for number in range(held, times):
        for path in files:
            with (folder / f"{number}.{path.stem}.ndjson").open("wb") as file:
                async for piece in renamed(path, b"%02x" % number):
                    file.write(piece)


@contextmanager
def source(folder: Path) -> Iterator[str]:
    """Run the source; gives its origin."""
    port = free_port()
    command = [sys.executable, "-m", "bench.export_source", str(folder), str(port)]
    environment = {**os.environ, "PYTHONPATH": "tests"}
    with scratch_folder() as logs:
        process = Process("source", command, logs / "source.log", environment=environment)
        process.start()
        try:
            wait_until(lambda: answers("127.0.0.1", port), process, 30)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.stop(5)


@asynccontextmanager
async def opened(stack: Stack, origin: str, folder: Path) -> AsyncIterator[Bench]:
    """Register the source, and a client that may import."""
    addresses = stack.addresses
    admin = await asyncpg.create_pool(stack.dsn(), min_size=1, max_size=4)
    try:
        async with operator(stack) as operators:
            await operators.add_source("bench", f"{origin}/fhir")
        async with SluiceClient(addresses.gateway, auth_url=addresses.auth) as client:
            await client.sign_up("bench", scopes=["bulk/import"])
            await admin.execute(_TABLE)
            yield Bench(stack, admin, origin, folder, client)
    finally:
        await admin.close()


async def measure(stack: Stack, files: Sequence[Path], sizes: Sequence[int], repeats: int) -> None:
    """Let the bare loop and the import take turns, at each size."""
    seconds: list[float] = []
    with scratch_folder() as folder, source(folder) as origin, peaks(stack) as highest:
        async with opened(stack, origin, folder) as bench:
            held = 0
            for times in sizes:
                await fill(folder, files, held, times)
                held = times
                bench.resources = 0
                await bench.prepare()
                limit, subject = await side_by_side(
                    repeats,
                    ("bare HTTP download and COPY", bench.bare),
                    ("bulk import, 202 to the job's end", bench.bulk_import),
                    "resources/s",
                )
                seconds.append(bench.resources / statistics.median(subject.readings))
                _report(bench, highest_of=shown_peaks(highest), figures=(limit, subject))
    for times, took in zip(sizes[1:], seconds[1:], strict=True):
        console.print(
            f"  {times / sizes[0]:.0f} times the resources take {took / seconds[0]:.1f} times as long"
        )


def _report(bench: Bench, *, highest_of: str, figures: tuple[Figure, Figure]) -> None:
    notes = (
        f"{bench.resources:,} resources, {bench.bytes / 1e6:,.0f} MB of NDJSON",
        f"processor time of a resource, microseconds: {bench.shares[-1]}",
        f"highest memory, MiB: {highest_of}",
        "asked for: 12,000 resources/s, 40% of the limit, 250 MB",
    )
    report(f"Bulk import ({os.cpu_count()} cores)", figures, notes)


def main(
    patients: int = 70,
    sizes: Annotated[list[int], typer.Option(help="how many times the set is exported")] = [1],  # noqa: B006
    repeats: int = 3,
    pullers: int = 1,
) -> None:
    """Measure and print."""
    files = sorted(generated(patients).glob("*.ndjson"))
    with running_stack(source=False, scale={"puller": pullers}) as stack:
        uvloop.run(measure(stack, files, sizes, repeats))


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    typer.run(main)
