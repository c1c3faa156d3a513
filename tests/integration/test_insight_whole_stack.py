"""Insight in the whole stack: it tells of what others do, and nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import psutil

from sluice_client import ExportRequest, PullRequest, SluiceClient
from sluice_stack.stack import Stack
from support.held_source import held_source
from support.portal import new_portal, register_source
from support.stack_export import grant, load_sample
from support.stack_whole import frozen_services

SCOPES = ("bulk/import", "system/*.rs")


async def _seen(stack: Stack, http: aiohttp.ClientSession, client: str) -> int:
    async with http.get(f"{stack.layout.insight_url}/clients") as answer:
        rates: dict[str, dict[str, Any]] = await answer.json()
    return int(rates.get(client, {"900": {"items": 0}})["900"]["items"])


@asynccontextmanager
async def bulk_client(stack: Stack) -> AsyncIterator[SluiceClient]:
    """Sign a client up that imports and exports in bulk."""
    async with SluiceClient(stack.addresses.gateway, auth_url=stack.addresses.auth) as client:
        made = await client.sign_up("in bulk", scopes=SCOPES)
        await grant(stack, made.client_id)
        yield client


async def until(question: Callable[[], Awaitable[bool]], pause: float = 0.2) -> None:
    """Ask until it is so."""
    async with asyncio.timeout(120):
        while not await question():  # noqa: ASYNC110 - another process is waited for
            await asyncio.sleep(pause)


async def test_jobs_of_every_kind_end_while_insight_is_frozen_and_it_tells_of_them_afterwards(
    stack: Stack,
) -> None:
    base = f"{stack.layout.source_url}/r4/fhir/DocumentReference"
    await load_sample(stack)
    async with new_portal(stack) as portal, bulk_client(stack) as client, held_source() as source:
        await register_source(stack, portal.http, "held", base_url=source.url)
        source.go.set()
        with frozen_services(stack, "insight"):
            job = await portal.submit([f"{base}/bench-{number:06d}" for number in range(1, 21)])
            exporting = await client.start_export(ExportRequest(types=("Patient",)))
            pulled = await client.pull(PullRequest(export_url=f"{source.url}/manifest", static=True))
            manifest = await client.wait_for_export(exporting)
            (ended,) = await portal.finished([job])
        assert (ended["outcome"], ended["counts"]["attached"], ended["eta"]) == ("completed", 20, None)
        assert (pulled.errors, len(manifest.files) > 0) == (0, True)

        async def seen() -> bool:
            return await _seen(stack, portal.http, portal.account.client_id) >= 20

        await until(seen)
        assert await _seen(stack, portal.http, portal.account.client_id) == 20
        async with portal.http.get(f"{stack.layout.insight_url}/sources") as answer:
            sources = await answer.json()
        assert sum(each["900"]["items"] for each in sources.values()) >= 20


async def test_a_slow_document_import_says_when_it_will_have_ended(stack: Stack) -> None:
    async with new_portal(stack) as portal, held_source() as source:
        await register_source(stack, portal.http, "holds", base_url=source.url)
        names = [*(f"quick-{number}" for number in range(5)), "held-0"]
        job = await portal.submit([f"{source.url}/DocumentReference/{name}" for name in names])

        async def told() -> bool:
            _, found = await portal.call("GET", f"/v2/jobs/{job}")
            assert (found["outcome"], found["stuck_since"]) == (None, None)
            return found["eta"] is not None and (await portal.job(job))["eta"] is not None

        await until(told)
        source.go.set()
        (ended,) = await portal.finished([job])
        assert (ended["outcome"], ended["counts"]["attached"], ended["eta"]) == ("completed", 6, None)


async def test_a_slow_pull_says_how_much_longer_it_will_take(stack: Stack) -> None:
    async with aiohttp.ClientSession() as http, bulk_client(stack) as client, held_source() as source:
        await register_source(stack, http, "slow", base_url=source.url)
        job = await client.start_pull(PullRequest(export_url=f"{source.url}/manifest", static=True))
        said: list[str] = []

        async def told() -> bool:
            status = await client.pull_status(job)
            assert not status.finished
            said.append(status.progress)
            await asyncio.sleep(status.retry_after or 0.0)
            return " left" in status.progress and (await client.any_job(job)).eta is not None

        await until(told)
        source.go.set()
        pulled = await client.wait_for_pull(job)
        assert pulled.errors == 0
        assert "about" in said[-1]
        found = await client.any_job(job)
        assert found.eta is None
        assert [each.stage for each in found.stages] == ["load", "look-up"]


def test_it_needs_little_memory(stack: Stack) -> None:
    process = psutil.Process(stack.services["insight"].process.pid)
    assert process.memory_info().rss < 200 * 2**20
