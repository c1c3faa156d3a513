"""Polling: how long 1,000 polls a second wait for their answers while exports run.

The whole stack with Synthea's resources of 70 patients in its store, all of which is exported again and again
meanwhile. 2,000 further exports that are half done are polled in turn, at a steady rate from a process of its
own; a delay is from when a poll was due to its answer. The limit: a bare aiohttp server that answers 202, at
the same rate, while the same exports run. Run from the project's root:

    PYTHONPATH=tests .venv/bin/python -m bench.bench_polls [--rate 1000] [--seconds 20] [--repeats 3]
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg
import msgspec
import psutil
import typer
import uvloop

from bench.measure import console, percentile
from bench.polling_load import Answers, steadily
from sluice_client import SluiceClient
from sluice_client.export_requests import ExportRequest as ExportFor
from sluice_contracts.exports import ExportAccess, ExportLevel, ExportRequest
from sluice_stack.layout import usual_scale
from sluice_stack.processes import Process, answers, free_port, wait_until
from sluice_stack.stack import Stack
from sluice_storage.resources.load import files_in, load_folder
from support.resource_synthea import generated
from support.scratch import scratch_folder
from support.stack_export import grant
from support.stack_whole import running_stack

_JOBS = 2000
_BARE = """
import sys
from aiohttp import web
async def serve(request):
    return web.Response(status=202, headers={"Retry-After": "1", "X-Progress": "started 50%"})
app = web.Application()
app.router.add_get("/fhir/exports/{job}", serve)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
"""


@dataclass
class Exports:
    """How many exports ended while something was measured."""

    ended: int = 0


async def half_done(stack: Stack, client: str) -> list[str]:
    """Write the rows of exports that are under way; gives their paths."""
    jobs = [str(uuid4()) for _ in range(_JOBS)]
    request = msgspec.json.encode(ExportRequest(level=ExportLevel.SYSTEM))
    access = msgspec.json.encode(ExportAccess(all_patients=True))
    connection = await asyncpg.connect(stack.dsn())
    try:
        await connection.execute(
            "INSERT INTO status.jobs (job, kind, client, subject, state, items, attached, submitted_at,"
            " started_at) SELECT job, 'bulk-export', $2, $2, 'RUNNING', 10, 5, now(), now()"
            " FROM unnest($1::uuid[]) AS k (job)",
            jobs,
            client,
        )
        await connection.execute(
            "INSERT INTO exports.jobs (job, client, subject, request, access, snapshot, transaction_time,"
            " parts, sealed, keep, submitted_at, planned_at) SELECT job, $2, $2, $3, $4, 1, now(), 10, 5,"
            " '7 days', now(), now() FROM unnest($1::uuid[]) AS k (job)",
            jobs,
            client,
            request,
            access,
        )
    finally:
        await connection.close()
    return [f"/fhir/exports/{job}" for job in jobs]


@asynccontextmanager
async def exporting(client: SluiceClient) -> AsyncIterator[Exports]:
    """Export everything again and again; the files stay at the service, which deletes each export."""
    done = Exports()

    async def run() -> None:
        while True:
            location = await client.start_export(ExportFor())
            await client.wait_for_export(location)
            await client.delete_export(location)
            done.ended += 1

    task = asyncio.create_task(run())
    try:
        yield done
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def bare_server() -> AsyncIterator[tuple[str, int]]:
    """Run the server that only answers; gives its origin and its process."""
    port = free_port()
    with scratch_folder() as folder:
        process = Process("bare", [sys.executable, "-c", _BARE, str(port)], folder / "log")
        process.start()
        try:
            wait_until(lambda: answers("127.0.0.1", port), process, 30)
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.stop(5)


def shown(found: Answers) -> str:
    """Write the delays in milliseconds."""
    middle, late, last = (percentile(found.delays, share) * 1000 for share in (0.5, 0.99, 1.0))
    return f"median {middle:.1f} ms, p99 {late:.1f} ms, longest {last:.0f} ms, {found.statuses}"


async def measure(stack: Stack, folder: Path, rate: float, seconds: float, repeats: int) -> None:
    """Let the bare server and the gateway take turns while exports run."""
    loaded = await load_folder(stack.dsn("sluice_loader"), files_in(folder))
    console.print(f"{sum(outcome.read for _, outcome, _ in loaded):,} resources are in the store")
    addresses = stack.addresses
    async with (
        SluiceClient(addresses.gateway, auth_url=addresses.auth) as client,
        bare_server() as (bare, process),
    ):
        signed = await client.sign_up("poller", scopes=["system/*.rs"])
        await grant(stack, signed.client_id)
        paths = await half_done(stack, signed.client_id)
        servers = {bare: process, addresses.gateway: stack.services["gateway"].process.pid}
        found: dict[str, list[Answers]] = {origin: [] for origin in servers}
        spent: dict[str, list[float]] = {origin: [] for origin in servers}
        async with exporting(client) as exports:
            for _ in range(repeats):
                for origin, server in servers.items():
                    headers = f"Authorization: Bearer {await client.token()}\r\n"
                    urls = [origin + path for path in paths]
                    before = busy(server)
                    found[origin].append(await steadily(urls, headers, rate=rate, seconds=seconds))
                    spent[origin].append(busy(server) - before)
        console.print(f"Polling at {rate:.0f}/s for {seconds:.0f} s ({os.cpu_count()} cores)")
        for name, origin in (("bare aiohttp", bare), ("gateway", addresses.gateway)):
            for reading in found[origin]:
                console.print(f"  {name}: {shown(reading)}", highlight=False)
            late = [percentile(reading.delays, 0.99) * 1000 for reading in found[origin]]
            console.print(f"  {name}: p99 {statistics.median(late):.1f} ms (median of {repeats})")
            each = statistics.median(spent[origin]) / (rate * seconds) * 1e6
            asking = statistics.median(reading.processor for reading in found[origin])
            console.print(
                f"  {name}: {each:.0f} us of processor time a poll,"
                f" asking {asking / (rate * seconds) * 1e6:.0f} us"
            )
        console.print(f"  exports that ended meanwhile: {exports.ended}; asked for: p99 under 50 ms")


def busy(process: int) -> float:
    """Give the processor time that a process and those below it have used so far, in seconds."""
    root = psutil.Process(process)
    times = [each.cpu_times() for each in (root, *root.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def main(patients: int = 70, rate: float = 1000.0, seconds: float = 20.0, repeats: int = 3) -> None:
    """Measure and print."""
    folder = generated(patients)
    settings = {"SLUICE_EXPORT_RETRY_AFTER": "1"}
    with running_stack(source=False, settings=settings, scale=usual_scale()) as stack:
        uvloop.run(measure(stack, folder, rate, seconds, repeats))


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    typer.run(main)
