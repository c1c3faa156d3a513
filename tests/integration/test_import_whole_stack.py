"""Bulk import in the whole stack: it pulls its own export, as a client of SMART Backend Services."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import asyncpg

from sluice_client import Credentials, SluiceClient
from sluice_stack.stack import Stack
from support.stack_export import grant, load_sample, operator

JSON = {"Content-Type": "application/fhir+json", "Prefer": "respond-async"}


async def own_source(stack: Stack, session: aiohttp.ClientSession) -> tuple[str, str]:
    """Register the stack's own FHIR API as a source, with a key that it publishes; give base and client."""
    base = f"{stack.addresses.gateway}/fhir"
    auth = {
        "type": "backend_services",
        "token_url": f"{stack.addresses.auth}/oauth/token",
        "client_id": "to be registered",
        "scope": "system/*.rs",
    }
    async with operator(stack) as operators:
        headers = {"Authorization": f"Bearer {await operators.token()}", "X-SBG-Advance-Access": "Advance"}
        draft = {"name": "Ourselves", "base_url": base, "auth": auth}
        async with session.post("/v2/fhir/sources", json=draft, headers=headers) as answer:
            assert answer.status == 201, await answer.text()
            source = (await answer.json())["id"]
        keys = f"{stack.addresses.gateway}/v2/fhir/sources/{source}/jwks.json"
        async with SluiceClient(stack.addresses.gateway, auth_url=stack.addresses.auth) as client:
            made = await client.register_key("puller", jwks_uri=keys)
        change = {"auth": {**auth, "client_id": made.client_id}}
        async with session.patch(f"/v2/fhir/sources/{source}", json=change, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
    await grant(stack, made.client_id)
    return base, made.client_id


async def pulled(session: aiohttp.ClientSession, headers: dict[str, str], url: str, *types: str) -> Any:
    """Import and wait for the end; give the manifest."""
    parameters = [{"name": "exportUrl", "valueUrl": url}]
    parameters += [{"name": "_type", "valueString": each} for each in types]
    body = {"resourceType": "Parameters", "parameter": parameters}
    async with session.post("/fhir/$import", json=body, headers={**headers, **JSON}) as answer:
        assert answer.status == 202, await answer.text()
        place = answer.headers["Content-Location"]
    async with asyncio.timeout(120):
        while True:
            async with session.get(place, headers=headers) as answer:
                if answer.status != 202:
                    assert answer.status == 200, await answer.text()
                    return await answer.json()
                await asyncio.sleep(int(answer.headers["Retry-After"]))


async def test_a_stack_pulls_its_own_export_with_its_own_published_key_and_changes_nothing(
    stack: Stack,
) -> None:
    sample = await load_sample(stack)
    types = ("Patient", "Encounter", "Condition")
    async with aiohttp.ClientSession(stack.addresses.gateway) as session:
        base, own_id = await own_source(stack, session)
        async with SluiceClient(stack.addresses.gateway, auth_url=stack.addresses.auth) as client:
            made = await client.sign_up("importer", scopes=["bulk/import"])
        credentials = Credentials(client_id=made.client_id, client_secret=made.client_secret)
        async with SluiceClient(
            stack.addresses.gateway, auth_url=stack.addresses.auth, credentials=credentials
        ) as client:
            headers = {"Authorization": f"Bearer {await client.token()}"}
        shown = await pulled(session, headers, f"{base}/$export", *types)
        assert shown["error"] == []
        async with session.get(shown["outcome"][0]["url"], headers=headers) as answer:
            lines = (await answer.text()).splitlines()
    assert len(lines) == shown["output"][0]["count"]
    connection = await asyncpg.connect(stack.dsn())
    try:
        rows = await connection.fetch(
            "SELECT type, read, unchanged, needs_token FROM pulls.files JOIN pulls.jobs USING (job)"
            " WHERE client = $1",
            made.client_id,
        )
        # Other tests have stored some of these types in this stack too.
        stored = await connection.fetch(
            "SELECT type, count(*) AS n FROM fhir.resources"
            " WHERE superseded_by IS NULL AND NOT deleted AND type = ANY($1) GROUP BY type",
            list(types),
        )
        # The export is deleted at its source, which is nobody's wish but the puller's.
        async with asyncio.timeout(120):
            while await connection.fetchval("SELECT count(*) FROM exports.jobs WHERE client = $1", own_id):
                if await connection.fetchval(
                    "SELECT bool_and(reason = 'deleted') FROM exports.jobs WHERE client = $1", own_id
                ):
                    break
                await asyncio.sleep(0.1)
    finally:
        await connection.close()
    found: Counter[str] = Counter()
    for row in rows:
        found[row["type"]] += row["read"]
        assert row["read"] == row["unchanged"]
        assert row["needs_token"]
    assert found == {row["type"]: row["n"] for row in stored}
    assert all(found[type_] >= sample.counts[type_] > 0 for type_ in types)
