"""Document import by the whole stack, beside a bare loop that does the same over the same source.

The limit: one aiohttp client, 32 at a time, that GETs a DocumentReference, GETs its 20 KB attachment, takes
the SHA-256 and writes a file; on uvloop, as the services are, and on asyncio's own event loop. The subject:
the same documents submitted to the gateway in calls of 100, from the first POST until the last job's end is
announced on the log, while a client polls. Source, Kafka, Postgres and all services share the machine.

Also: growth (2,000 against 20,000 items), the highest memory of each service, and with `--large` the memory
while a 2 GB attachment goes through.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import aiohttp
import asyncpg
import typer
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.measure import Figure, console, in_turn, report
from bench.stack_watch import MIB, peaks, processor_seconds, shown_peaks, shown_shares
from sluice_stack.stack import Stack
from support.collector import collecting
from support.portal import new_portal
from support.scratch import scratch_folder
from support.stack_whole import running_stack

AT_ONCE = 32
_numbers = itertools.count(1)


def references(stack: Stack, count: int) -> list[str]:
    """Name `count` benchmark documents of the demo source, others with every call.

    Whoever imports a content that is there already has less to do: every reading gets contents of its own.
    """
    base = f"{stack.layout.source_url}/r4/fhir/DocumentReference"
    return [f"{base}/bench-{next(_numbers):06d}" for _ in range(count)]


async def bare_loop(documents: list[str], folder: Path) -> float:
    """Import the documents into a folder the shortest way there is; give items per second."""
    waiting = iter(documents)

    async def work(http: aiohttp.ClientSession) -> None:
        for url in waiting:
            async with http.get(url) as answer:
                document = json.loads(await answer.read())
            async with http.get(document["content"][0]["attachment"]["url"]) as answer:
                content = await answer.read()
            (folder / hashlib.sha256(content).hexdigest()).write_bytes(content)

    begun = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as http:
        await asyncio.gather(*(work(http) for _ in range(AT_ONCE)))
    return len(documents) / (time.perf_counter() - begun)


async def on_asyncio(documents: list[str], folder: Path) -> float:
    """Do the same on the event loop that `asyncio.run` gives, which is what most such loops run on."""
    return await asyncio.to_thread(lambda: asyncio.run(bare_loop(documents, folder)))


async def whole_stack(stack: Stack, documents: list[str], name: str) -> float:
    """Import the documents through the gateway into a new project of a new client; give items per second."""
    async with new_portal(stack, name) as portal:
        await portal.make_project(name)
        begun = time.time()
        jobs = await portal.submit_all(documents, name)
        ended = await portal.finished(jobs, within=600, every=0.5)
    attached = sum(job["counts"]["attached"] for job in ended)
    if attached != len(documents):
        raise SystemExit(f"{len(documents) - attached} of {len(documents)} items were not attached")
    return len(documents) / (await last_announced(stack, jobs) - begun)


async def last_announced(stack: Stack, jobs: list[str]) -> float:
    """Give when the end of the last of these jobs was on the log: a client that polls learns it later."""
    connection = await asyncpg.connect(stack.dsn())
    try:
        while True:
            last = await connection.fetchval(
                """
                SELECT max(announced_at) FROM status.jobs WHERE job = ANY($1::uuid[])
                HAVING count(announced_at) = cardinality($1::uuid[])
                """,
                jobs,
            )
            if last is not None:
                return float(last.timestamp())
            await asyncio.sleep(0.05)
    finally:
        await connection.close()


async def measure(stack: Stack, items: int, repeats: int) -> None:
    """Print the rates, growth and memory."""
    number = itertools.count()
    with scratch_folder() as scratch:
        await whole_stack(stack, references(stack, 500), "warm")
        with peaks(stack) as highest:
            figures = await in_turn(
                repeats,
                "items/s",
                ("bare aiohttp loop on uvloop", lambda: bare_loop(references(stack, items), scratch)),
                ("the same on asyncio's loop", lambda: on_asyncio(references(stack, items), scratch)),
                (
                    "document import",
                    lambda: whole_stack(stack, references(stack, items), f"run-{next(number)}"),
                ),
            )
            before = processor_seconds(stack)
            tenths = [
                await whole_stack(stack, references(stack, items // 10), f"tenth-{turn}")
                for turn in range(repeats)
            ]
            shares = shown_shares(before, processor_seconds(stack), items // 10 * repeats)
    plain, subject = figures[1:]
    growth = (items / subject.median) / (items / 10 / statistics.median(tenths))
    of_plain = statistics.median(a / b for a, b in zip(subject.readings, plain.readings, strict=True))
    report(
        f"Document import, {items:,} items of 20 KB",
        figures,
        [
            f"document import is {of_plain:.0%} of the loop on asyncio's",
            f"time for {items:,} items is {growth:.1f} times the time for {items // 10:,}",
            f"processor time of one item, ms: {shares}",
            f"highest memory, MiB: {shown_peaks(highest)}",
        ],
    )


async def measure_large(stack: Stack) -> None:
    """Print rate and memory while one 2 GB attachment goes through."""
    url = f"{stack.layout.source_url}/r4/fhir/DocumentReference/big-2gb"
    async with new_portal(stack, "large") as portal:
        with peaks(stack) as highest:
            begun = time.perf_counter()
            ended = await portal.finished([await portal.submit([url])], within=900)
            seconds = time.perf_counter() - begun
    if ended[0]["counts"]["attached"] != 1:
        raise SystemExit(f"the 2 GB attachment was not attached: {ended[0]['result'][0]['error']}")
    report(
        "One attachment of 2 GB",
        [Figure("document import", "MB/s", (2 * 1024 * MIB / 1e6 / seconds,))],
        [f"highest memory, MiB: {shown_peaks(highest)}"],
    )


def _command(
    items: Annotated[int, typer.Option(help="documents in each reading")] = 20_000,
    repeats: Annotated[int, typer.Option(help="readings of each")] = 3,
    large: Annotated[bool, typer.Option(help="also import one attachment of 2 GB")] = True,
    scale: Annotated[int, typer.Option(help="processes of each worker")] = 1,
    traces: Annotated[bool, typer.Option(help="tell every span to a collector")] = False,
) -> None:
    workers = dict.fromkeys(("fetcher", "scraper", "attacher"), scale)
    with ExitStack() as inside:
        settings = {}
        if traces:
            settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = inside.enter_context(collecting(keep=False)).url
        stack = inside.enter_context(running_stack(scale=workers, settings=settings))
        console.print(f"stack is up at {stack.layout.gateway_url}")
        uvloop.run(measure(stack, items, repeats))
        if large:
            uvloop.run(measure_large(stack))


if __name__ == "__main__":
    typer.run(_command)
