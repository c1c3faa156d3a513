"""Export as clients meet it: resources a second from kick-off to manifest, beside bare COPY to a file.

The whole stack with Synthea's resources of 70 patients in its store, and as many exporters as
`make up` runs; a client kicks a system export off over HTTP, and has ended when it is given the manifest. The
limit is that of `bench_export`. Both take turns. Run from the project's root:

    PYTHONPATH=tests .venv/bin/python -m bench.bench_export_whole [--exporters 2] [--times 9]

With `--times 9` the store holds the set nine times.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
import typer
import uvloop

from bench.bare_copy import copy_to_files
from bench.bench_export import apart, fill
from bench.measure import report, side_by_side
from sluice_client import SluiceClient
from sluice_client.export_requests import ExportRequest
from sluice_stack.layout import usual_scale
from sluice_stack.stack import Stack
from support.resource_synthea import generated
from support.scratch import scratch_folder
from support.stack_export import grant
from support.stack_whole import running_stack

_LOOK_EVERY = 0.01


@dataclass
class Bench:
    """A stack with a filled store, and a client that may see all of it."""

    stack: Stack
    client: SluiceClient
    admin: asyncpg.Pool
    folder: Path
    resources: int = 0
    size: int = 0

    async def bare(self) -> float:
        """Copy every resource to files; gives resources a second."""
        seconds = await copy_to_files(self.admin, self.folder / "bare")
        return self.resources / seconds

    async def export(self) -> float:
        """Export everything; gives resources a second from the kick-off to the manifest."""
        began = time.perf_counter()
        location = await self.client.start_export(ExportRequest())
        job = location.rpartition("/")[2]
        # A client polls as often as it is asked to, which would say little of less than a second.
        while not await self.admin.fetchval(  # noqa: ASYNC110
            "SELECT finished_at IS NOT NULL FROM status.jobs WHERE job::text = $1", job
        ):
            await asyncio.sleep(_LOOK_EVERY)
        manifest = await self.client.wait_for_export(location)
        seconds = time.perf_counter() - began
        count = sum(file.count or 0 for file in manifest.files)
        if count != self.resources:
            raise RuntimeError(f"{count} of {self.resources} were exported")
        await self.client.delete_export(location)
        return count / seconds

    def memory(self) -> int:
        """Give the memory of the largest exporter, in MiB."""
        exporters = [
            psutil.Process(each.process.pid)
            for name, each in self.stack.services.items()
            if name.startswith("exporter")
        ]
        return max(each.memory_info().rss for each in exporters) // 2**20


async def measure(stack: Stack, files: Sequence[Path], *, times: int, repeats: int, exporters: int) -> None:
    """Let bare COPY and the stack take turns."""
    await apart(fill, stack.dsn("sluice_loader"), files, 0, times)
    admin = await asyncpg.create_pool(stack.dsn(), min_size=1, max_size=2)
    with scratch_folder() as folder:
        folder.chmod(0o777)
        async with SluiceClient(stack.addresses.gateway, auth_url=stack.addresses.auth) as client:
            signed = await client.sign_up("exporting", scopes=["system/*.rs"])
            await grant(stack, signed.client_id)
            bench = Bench(stack, client, admin, folder)
            row = await admin.fetchrow(
                "SELECT count(*), sum(size)::bigint FROM fhir.resources WHERE superseded_by IS NULL",
                timeout=600,
            )
            bench.resources, bench.size = row or (0, 0)
            await bench.bare()
            await bench.export()
            figures = await side_by_side(
                repeats,
                ("bare COPY to a file", bench.bare),
                ("system export, kick-off to manifest", bench.export),
                "resources/s",
            )
    report(
        f"Export by the whole stack ({os.cpu_count()} cores)",
        figures,
        (
            f"{bench.resources:,} resources, {bench.size / 1e6:,.0f} MB of NDJSON; exporters: {exporters}",
            f"the larger exporter takes {bench.memory()} MiB",
            "asked for: 60% of the limit, 100,000 resources/s, 200 MB",
        ),
    )
    await admin.close()


def main(
    patients: int = 70, times: int = 1, repeats: int = 5, exporters: int = usual_scale()["exporter"]
) -> None:
    """Measure and print."""
    files = sorted(generated(patients).glob("*.ndjson"))
    settings = {"SLUICE_EXPORT_RETRY_AFTER": "1"}
    with running_stack(source=False, settings=settings, scale={"exporter": exporters}) as stack:
        uvloop.run(measure(stack, files, times=times, repeats=repeats, exporters=exporters))


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    typer.run(main)
