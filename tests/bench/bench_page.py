"""The page for people: how soon it is there, with a thousand jobs on the embedded stack.

A browser with an empty cache opens the list of jobs, and, as the limit, the shortest answer that the gateway
has (`/livez`); the two take turns. First paint and first contentful paint are the browser's own figures; the
jobs are there when the first row of the list is. Run from the project's root:

    PYTHONPATH=tests .venv/bin/python -m bench.bench_page [--jobs 1000] [--rounds 15]
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import psycopg
import typer
from playwright.async_api import CDPSession

from bench.measure import Figure, report
from sluice_stack.stack import Stack
from support.page import Person, at_the_page, chromium
from support.stack_whole import running_stack

WITHIN = 1000.0
"""Milliseconds until the first paint, at most."""
_JOBS = """
INSERT INTO status.jobs (job, kind, client, subject, state, outcome, items, attached, failed, submitted_at,
    started_at, finished_at, announced_at)
SELECT gen_random_uuid(), 'document-import', 'sluice-dashboard', user_id, 'FINISHED', 'completed', 100,
    100 - mod(n, 5), mod(n, 5), at, at + interval '1 s', at + interval '20 s', at + interval '20 s'
FROM auth.users, generate_series(1, %(count)s) AS n,
    LATERAL (SELECT now() - n * interval '1 minute' AS at) AS t
WHERE name = 'demo'
"""
_PAINTS = """() => new Promise((done) => {
  const paints = () => performance.getEntriesByType("paint").map((it) => [it.name, it.startTime]);
  const kept = () => Object.fromEntries(paints());
  const look = () => ("first-contentful-paint" in kept() ? done(kept()) : setTimeout(look, 5));
  look();
})"""
# Set while the document is parsed: when the first row of the list is in it.
_ROWS = """
new MutationObserver((_, observer) => {
  if (!document.querySelector(".job")) return;
  window.rowsAt = performance.now();
  observer.disconnect();
}).observe(document, { childList: true, subtree: true });
"""


@dataclass
class Readings:
    """Milliseconds, reading by reading."""

    bare: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    contentful: list[float] = field(default_factory=list)
    rows: list[float] = field(default_factory=list)


async def once(person: Person, network: CDPSession, readings: Readings) -> None:
    """Open both, with nothing in the cache."""
    await network.send("Network.clearBrowserCache")
    await person.page.goto(f"{person.url}/livez")
    readings.bare.append((await person.page.evaluate(_PAINTS))["first-contentful-paint"])
    await network.send("Network.clearBrowserCache")
    await person.page.goto(f"{person.url}/#/jobs")
    paints = await person.page.evaluate(_PAINTS)
    await person.page.wait_for_selector(".job")
    readings.first.append(paints["first-paint"])
    readings.contentful.append(paints["first-contentful-paint"])
    readings.rows.append(await person.page.evaluate("window.rowsAt"))


async def measure(stack: Stack, rounds: int) -> Readings:
    """Open the page again and again."""
    readings = Readings()
    async with chromium() as browser, at_the_page(browser, stack) as person:
        await person.context.add_init_script(_ROWS)
        await person.sign_in("demo")
        network = await person.context.new_cdp_session(person.page)
        for _ in range(rounds):
            await once(person, network, readings)
    return readings


def main(jobs: int = 1000, rounds: int = 15) -> None:
    """Measure, and say how it went."""
    with running_stack() as stack:
        with psycopg.connect(stack.dsn()) as connection:
            connection.execute(_JOBS, {"count": jobs})
        readings = asyncio.run(measure(stack, rounds))
    figures = [
        Figure("first paint of the gateway's shortest answer", "ms", tuple(readings.bare)),
        Figure(f"first paint of the page, {jobs} jobs", "ms", tuple(readings.first)),
        Figure("first contentful paint of the page", "ms", tuple(readings.contentful)),
        Figure("the newest jobs are there", "ms", tuple(readings.rows)),
    ]
    report("the page", figures)
    if max(readings.first) > WITHIN:
        raise SystemExit(f"the first paint took up to {max(readings.first):.0f} ms")


if __name__ == "__main__":
    typer.run(main)
