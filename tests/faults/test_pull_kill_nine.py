"""`kill -9` of anything at any moment of a bulk import: the result is that of an undisturbed run.

Each case kills one process at a moment drawn from a fixed seed while 40,000 resources are being pulled.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import asyncpg
import pytest

from sluice_client import SluiceClient
from sluice_stack.stack import Stack
from support.hostile import HttpSource, http_source
from support.pulling import ExportSource
from support.stack_export import operator

FILES, LINES = 8, 5000
LATEST_KILL = 5.0
_FILLER = "x" * 1200


def _victims(stack: Stack) -> dict[str, Callable[[], None]]:
    return {
        "puller": stack.services["puller"].process.kill,
        "status": stack.services["status"].process.kill,
        "kafka": stack.kafka.kill,
        "postgres": stack.postgres.kill,
    }


def _file(prefix: str, number: int) -> bytes:
    line = '{"resourceType":"Basic","id":"%s-%d-%d","code":{"text":"%s"}}\n'
    return "".join(line % (prefix, number, n, _FILLER) for n in range(LINES)).encode()


@asynccontextmanager
async def _source(stack: Stack, prefix: str) -> AsyncIterator[HttpSource]:
    """Run a source and register it."""
    async with http_source() as http:
        source = ExportSource(http, busy=2)
        for number in range(FILES):
            source.give(f"{number}.ndjson", _file(prefix, number), type_="Basic", count=LINES)
        async with operator(stack) as operators:
            made = await operators.add_source(prefix, http.base)
            try:
                yield http
            finally:
                await operators.remove_source(made.id)


async def _ended(session: aiohttp.ClientSession, place: str, headers: dict[str, str]) -> tuple[int, str]:
    """Poll until the import has ended, whatever is away meanwhile; give the last status and its body."""
    async with asyncio.timeout(150):
        while True:
            try:
                async with session.get(place, headers=headers) as answer:
                    if answer.status not in (202, 429, 503):
                        return answer.status, await answer.text()
            except aiohttp.ClientError:
                await asyncio.sleep(0.2)
            await asyncio.sleep(1.0)


async def _accepted(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> str:
    """Ask for an import until it is accepted: the case before may have killed what accepting needs."""
    body = {"resourceType": "Parameters", "parameter": [{"name": "exportUrl", "valueUrl": url}]}
    async with asyncio.timeout(120):
        while True:
            async with session.post("/fhir/$import", json=body, headers=headers) as answer:
                if answer.status == 202:
                    return answer.headers["Content-Location"]
                assert (answer.status, answer.headers.get("Retry-After")) == (503, "5")
            await asyncio.sleep(1.0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("victim", ["puller", "status", "kafka", "postgres"])
async def test_a_kill_at_any_moment_leaves_what_an_undisturbed_run_leaves(
    module_stack: Stack, victim: str, seed: int
) -> None:
    moment = random.Random(f"pull {victim} {seed}").uniform(0.5, LATEST_KILL)
    kill = _victims(module_stack)[victim]
    prefix = f"{victim}-{seed}"
    addresses = module_stack.addresses
    async with (
        _source(module_stack, prefix) as http,
        SluiceClient(addresses.gateway, auth_url=addresses.auth) as client,
        aiohttp.ClientSession(addresses.gateway) as session,
    ):
        await client.sign_up(prefix, scopes=["bulk/import"])
        headers = {"Authorization": f"Bearer {await client.token()}"}
        place = await _accepted(session, f"{http.base}/$export", headers)
        await asyncio.sleep(moment)
        await asyncio.to_thread(kill)
        status, text = await _ended(session, place, {"Authorization": f"Bearer {await client.token()}"})
        assert (status, "" if status == 200 else text) == (200, "")
    connection = await asyncpg.connect(module_stack.dsn())
    try:
        there = await connection.fetchrow(
            "SELECT count(*), count(DISTINCT id), max(version) FROM fhir.resources"
            " WHERE type = 'Basic' AND id LIKE $1",
            f"{prefix}-%",
        )
        job = await connection.fetchrow(
            "SELECT files, settled, (SELECT sum(read) FROM pulls.files f WHERE f.job = j.job) AS read"
            " FROM pulls.jobs j WHERE job = $1",
            place.rpartition("/")[2],
        )
    finally:
        await connection.close()
    assert there is not None
    assert job is not None
    assert tuple(there) == (FILES * LINES, FILES * LINES, 1)
    assert tuple(job) == (FILES, FILES, FILES * LINES)
