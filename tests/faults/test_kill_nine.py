"""`kill -9` of anything at any moment of an import loses nothing and does nothing twice.

Each case kills one process at a moment drawn from a fixed seed while 1,000 items are under way. What was
killed is started again by the supervisor, as ops' own would.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from sluice_stack.stack import Stack
from support.invariants import check_all
from support.portal import new_portal

ITEMS = 1000
# The faster the whole, the shorter this must be for the kill to fall into the middle.
LATEST_KILL = 2.0


def _victims(stack: Stack) -> dict[str, Callable[[], None]]:
    victims = {name: service.process.kill for name, service in stack.services.items() if name != "source"}
    return {**victims, "kafka": stack.kafka.kill, "postgres": stack.postgres.kill}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "victim", ["fetcher", "scraper", "attacher", "status", "gateway", "auth", "kafka", "postgres"]
)
async def test_a_kill_at_any_moment_loses_nothing_and_does_nothing_twice(
    module_stack: Stack, victim: str, seed: int
) -> None:
    moment = random.Random(f"{victim} {seed}").uniform(0.2, LATEST_KILL)
    kill = _victims(module_stack)[victim]
    base = f"{module_stack.layout.source_url}/r4/fhir/DocumentReference"
    references = [f"{base}/bench-{number:06d}" for number in range(1, ITEMS + 1)]

    async with new_portal(module_stack, f"{victim} {seed}") as portal:
        submitting = asyncio.create_task(portal.submit_all(references, f"{victim}-{seed}"))
        await asyncio.sleep(moment)
        await asyncio.to_thread(kill)
        jobs = await submitting
        ended = await portal.finished(jobs, within=150)

    assert sum(job["counts"]["attached"] for job in ended) == ITEMS
    await asyncio.to_thread(check_all, module_stack, jobs, ITEMS)
