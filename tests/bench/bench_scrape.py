"""Scraping: documents a second in one process, beside decoding the same documents with msgspec alone.

No HTTP, Kafka or Postgres: what a source would answer is in memory, so the figures are the cost of scraping
itself. Documents are of one job, as they come: what they share is read once, what is each one's own (an
encounter) every time. Run from the project's root:

    PYTHONPATH=tests .venv/bin/python -m bench.bench_scrape
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import typer
import uvloop

from bench.measure import Figure, console, report, side_by_side
from sluice_contracts.errors import ItemError
from sluice_fhir.fhirpath import evaluate_fully
from sluice_fhir.fhirpath_parse import parse
from sluice_fhir.scrape import Scraper, open_document
from sluice_fhir.scrape_match import SchemaSet
from sluice_fhir.scrape_plan import Plan
from sluice_security.failure import SourceFailure
from sluice_stack.source import patients, research
from sluice_stack.source.dataset import DataSet
from sluice_stack.source.server import SAMPLE

BASE = "https://fhir.example.org"
SCHEMAS = Path(__file__).resolve().parents[2] / "schemas" / "scrape"
INLINE = 20_000


@dataclass(slots=True)
class Memory:
    """Reads from a data set: `sluice_fhir.scrape.Reader`."""

    data: DataSet
    reads: int = 0

    async def read(self, url: str, expected: str) -> bytes:
        """Give what is at `url`."""
        self.reads += 1
        place, _, query = url.removeprefix(BASE + "/").partition("?")
        found = self.data.search(place, query) if query else self.data.read(place)
        if found is None:
            raise SourceFailure(ItemError.DOCUMENT_NOT_FOUND, 404)
        return found.body


def documents(data: DataSet, inline: int) -> list[bytes]:
    """Give the data set's documents, each with about `inline` bytes of content in it."""
    found = []
    for name in data.names("DocumentReference"):
        answer = data.read(f"DocumentReference/{name}")
        if answer is not None:
            document = msgspec.json.decode(answer.body)
            document["content"][0]["attachment"]["data"] = "QUJD" * (inline // 4)
            found.append(msgspec.json.encode(document))
    return found


def timed(
    bodies: list[bytes], seconds: float, one: Callable[[bytes], Awaitable[object]]
) -> Callable[[], Awaitable[float]]:
    """Give a measurement: documents a second over at least `seconds`."""

    async def measure() -> float:
        done, began = 0, time.perf_counter()
        while (spent := time.perf_counter() - began) < seconds:
            for body in bodies:
                await one(body)
            done += len(bodies)
        return done / spent

    return measure


async def compare(name: str, plan: Plan, data: DataSet, seconds: float, repeats: int) -> None:
    """Measure one kind of documents and print the figures."""
    bodies = documents(data, INLINE)
    memory = Memory(data)
    decode = msgspec.json.Decoder().decode

    async def decoding(body: bytes) -> object:
        return decode(body)

    scraper = Scraper()
    jobs = itertools.count()

    async def sharing(body: bytes) -> object:
        # Each pass over the documents is a job of its own.
        job = next(jobs) // len(bodies)
        return await _scrape(scraper, plan, memory, body, job)

    limit, shared = await side_by_side(
        repeats,
        ("msgspec decodes the document", timed(bodies, seconds, decoding)),
        ("a job's documents scraped", timed(bodies, seconds, sharing)),
        "documents/s",
    )

    async def alone(body: bytes) -> object:
        return await _scrape(Scraper(), plan, memory, body, 0)

    trees = [parse(rule.path.expression) for rule in plan.document.rules]

    async def interpreting(body: bytes) -> object:
        document = decode(body)
        return [_quietly(tree, document) for tree in trees]

    lone = Figure(
        "each scraped alone, nothing shared", "documents/s", (await timed(bodies, seconds, alone)(),)
    )
    full = timed(bodies[:5], min(seconds, 1.0), interpreting)
    interpreted = Figure("fhirpathpy on the document's paths", "documents/s", (await full(),))
    size = sum(map(len, bodies)) // len(bodies)
    notes = [
        f"{len(bodies)} documents of {size:,} bytes, {len(plan.recipes)} keys",
        f"one document of a job: {1e6 / shared.median:,.0f} µs; alone: {1e6 / lone.median:,.0f} µs",
    ]
    report(f"Scraping, {name}", (limit, shared, lone, interpreted), notes)


async def _scrape(scraper: Scraper, plan: Plan, memory: Memory, body: bytes, job: int) -> object:
    opened = open_document(plan, body)
    return await scraper.scrape(plan, opened, memory, BASE, scope=job)


def _quietly(tree: dict[str, object], document: dict[str, object]) -> object:
    try:
        return evaluate_fully(tree, document)
    except Exception:
        return None


def main(seconds: float = 1.0, repeats: int = 5) -> None:
    """Measure the schemas that ship."""
    schemas = SchemaSet.load(SCHEMAS)

    async def all_kinds() -> None:
        await compare("Synthea", schemas.get("synthea"), patients.load(SAMPLE), seconds, repeats)
        await compare("NCPI research", schemas.get("ncpi-research"), research.load(), seconds, repeats)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(all_kinds())
    console.print("Higher is better. The limit builds every element; scraping passes the content over.")


if __name__ == "__main__":
    typer.run(main)
