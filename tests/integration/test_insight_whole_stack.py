"""Insight in the whole stack: it tells of what others do, and nobody waits for it."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import aiohttp
import psutil

from sluice_stack.stack import Stack
from support.portal import new_portal


async def _seen(stack: Stack, http: aiohttp.ClientSession, client: str) -> int:
    async with http.get(f"{stack.layout.insight_url}/clients") as answer:
        rates: dict[str, dict[str, Any]] = await answer.json()
    return int(rates.get(client, {"900": {"items": 0}})["900"]["items"])


async def test_jobs_end_while_insight_is_frozen_and_it_tells_of_them_afterwards(stack: Stack) -> None:
    base = f"{stack.layout.source_url}/r4/fhir/DocumentReference"
    process = psutil.Process(stack.services["insight"].process.pid)
    async with new_portal(stack) as portal:
        process.send_signal(signal.SIGSTOP)
        try:
            job = await portal.submit([f"{base}/bench-{number:06d}" for number in range(1, 21)])
            (ended,) = await portal.finished([job])
        finally:
            process.send_signal(signal.SIGCONT)
        assert (ended["outcome"], ended["counts"]["attached"], ended["eta"]) == ("completed", 20, None)
        async with asyncio.timeout(60):
            while await _seen(stack, portal.http, portal.account.client_id) < 20:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        assert await _seen(stack, portal.http, portal.account.client_id) == 20
        async with portal.http.get(f"{stack.layout.insight_url}/sources") as answer:
            sources = await answer.json()
        assert sum(each["900"]["items"] for each in sources.values()) >= 20


def test_it_needs_little_memory(stack: Stack) -> None:
    process = psutil.Process(stack.services["insight"].process.pid)
    assert process.memory_info().rss < 200 * 2**20
