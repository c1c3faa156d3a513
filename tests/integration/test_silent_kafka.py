"""A Kafka that takes connections and answers nothing is not ready, and who asks learns that soon."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from sluice_stack.kafka import Kafka
from sluice_streaming.answering import answers
from support.frozen import frozen
from support.gateway_process import gateway_process, ready
from support.stack import Database


async def _unready(session: aiohttp.ClientSession, url: str, checks: dict[str, str]) -> None:
    """Ask until it is not ready, and this is why: what was so a moment before is told again."""
    while True:
        async with session.get(f"{url}/readyz") as answer:
            if (answer.status, (await answer.json())["checks"]) == (503, checks):
                return
        await asyncio.sleep(0.1)


async def test_a_kafka_that_is_silent_does_not_answer_and_one_of_several_that_does_is_enough(
    module_kafka: Kafka,
) -> None:
    nobody = "127.0.0.1:1"
    assert await answers(module_kafka.bootstrap, seconds=60.0)
    assert await answers(f"{nobody}, {module_kafka.bootstrap}", seconds=60.0)
    assert not await answers(nobody)
    with frozen(module_kafka.process.pid):
        assert not await answers(f"{module_kafka.bootstrap},{nobody}", seconds=0.2)


async def test_the_gateway_says_that_it_waits_for_a_silent_kafka_and_is_ready_again_after_it(
    module_kafka: Kafka, database: Database, scratch: Path
) -> None:
    async with (
        gateway_process(database, module_kafka.bootstrap, scratch) as running,
        aiohttp.ClientSession() as session,
    ):
        with frozen(module_kafka.process.pid):
            # Less than an answer of Kafka's would be waited for elsewhere.
            async with asyncio.timeout(30):
                checks = {"postgres": "ok", "kafka": "away", "authorization": "ok"}
                await _unready(session, running.url, checks)
        await ready(running.url, running.process)
