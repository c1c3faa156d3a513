"""`kill -9` of anything at any moment of an import loses nothing and does nothing twice.

Each case kills one process at a moment drawn from a fixed seed, or earlier when most of the 1,000 items are
done: some are always under way. What was killed is started again by the supervisor, as ops' own would. Each
step has two processes, so that one is left when the other dies.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator

import aiohttp
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sluice_contracts.topics import DOCUMENT_ATTACH, DOCUMENT_FETCH, DOCUMENT_SCRAPE
from sluice_stack.stack import Stack
from support.invariants import check_all
from support.portal import new_portal
from support.stack_whole import running_stack

ITEMS = 1000
LATEST_KILL = 2.0
MOST = ITEMS * 3 // 4
# Whoever kills may be held up by the machine until there is nothing left to disturb; then it is done again.
ATTEMPTS = 3
STEPS = {"fetcher": DOCUMENT_FETCH, "scraper": DOCUMENT_SCRAPE, "attacher": DOCUMENT_ATTACH}


@pytest.fixture(scope="module")
def scaled() -> Iterator[Stack]:
    with running_stack(scale=dict.fromkeys(STEPS, 2)) as stack:
        yield stack


def _references(stack: Stack) -> list[str]:
    base = f"{stack.layout.source_url}/r4/fhir/DocumentReference"
    return [f"{base}/bench-{number:06d}" for number in range(1, ITEMS + 1)]


async def _handled(stack: Stack, name: str, topic: str) -> float:
    """Give how many of a topic's messages a process has done with."""
    url = stack.services[name].plan.ready.replace("/readyz", "/metrics")
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        text = await answer.text()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "sluice_messages_handled_total"
        and sample.labels == {"topic": topic, "outcome": "done"}
    )


async def test_two_processes_of_each_step_share_the_work_and_do_nothing_twice(scaled: Stack) -> None:
    async with new_portal(scaled, "scaled") as portal:
        jobs = await portal.submit_all(_references(scaled), "scaled")
        ended = await portal.finished(jobs)
    assert sum(job["counts"]["attached"] for job in ended) == ITEMS
    await asyncio.to_thread(check_all, scaled, jobs, ITEMS)
    for service, topic in STEPS.items():
        shares = [await _handled(scaled, f"{service}-{number}", topic.name) for number in (1, 2)]
        assert all(shares), (service, shares)


def _victims(stack: Stack) -> dict[str, Callable[[], None]]:
    kills = {name.removesuffix("-1"): service.process.kill for name, service in stack.services.items()}
    return {**kills, "kafka": stack.kafka.kill, "postgres": stack.postgres.kill}


def _kill_at(stack: Stack, moment: float, project: str, kill: Callable[[], None]) -> int:
    """Kill after `moment` seconds, or when most items are done; give how many were done just before."""
    began = time.monotonic()
    done = "SELECT count(*) FROM files.entries WHERE project = %s AND origin_job IS NOT NULL"
    found = 0
    with psycopg.connect(stack.dsn(), autocommit=True) as rows:
        while time.monotonic() - began < moment and found < MOST:
            time.sleep(0.02)
            (found,) = rows.execute(done, [project]).fetchone() or (0,)
    kill()
    return found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "victim", ["fetcher", "scraper", "attacher", "status", "gateway", "auth", "kafka", "postgres"]
)
async def test_a_kill_at_any_moment_loses_nothing_and_does_nothing_twice(
    scaled: Stack, victim: str, seed: int
) -> None:
    moment = random.Random(f"{victim} {seed}").uniform(0.2, LATEST_KILL)
    done = ITEMS
    for attempt in range(ATTEMPTS):
        kill = _victims(scaled)[victim]
        async with new_portal(scaled, f"{victim} {seed} {attempt}") as portal:
            submitting = asyncio.create_task(portal.submit_all(_references(scaled), f"{victim}-{seed}"))
            done = await asyncio.to_thread(_kill_at, scaled, moment, portal.project, kill)
            jobs = await submitting
            ended = await portal.finished(jobs, within=300)
        assert sum(job["counts"]["attached"] for job in ended) == ITEMS
        await asyncio.to_thread(check_all, scaled, jobs, ITEMS)
        if done < ITEMS:
            break
    assert done < ITEMS, "it was killed after the fact"
