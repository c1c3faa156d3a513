"""A person, a portal that acts for them, and an export: from the sign-in page to the last byte."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar

from sluice_client import AccessToken, ApiError, ExportLevel, ExportRequest, SluiceClient
from sluice_stack.stack import Stack
from support.auth_browser import REDIRECT, VERIFIER, Browser, Site, asking, credentials_of
from support.stack_export import load_sample, operator

PASSWORD = "correct horse battery"
SCOPES = "user/*.rs"


@dataclass(frozen=True, slots=True)
class Portal:
    """A client that acts for people, and for itself too."""

    stack: Stack
    http: ClientSession
    client: dict[str, Any]

    async def acting_for(self, name: str, password: str) -> str:
        """Send a person to sign in and to consent, and get a token with the code that comes back."""
        browser = Browser(Site(self.http), self.stack.addresses.auth)
        page = await browser.get(asking(self.client, scope=SCOPES))
        page = await browser.sign_in(page, name, password)
        assert page.forms["/oauth/consent"], page.text
        page = await browser.submit(page, "/oauth/consent", decision="allow")
        assert page.location.startswith(f"{REDIRECT}?")
        return await self.token(
            grant_type="authorization_code",
            code=page.told["code"],
            redirect_uri=REDIRECT,
            code_verifier=VERIFIER,
        )

    async def token(self, **form: str) -> str:
        async with self.http.post("/oauth/token", data={**credentials_of(self.client), **form}) as answer:
            body = await answer.json()
            assert answer.status == 200, body
            return str(body["access_token"])

    def sluice(self, token: str) -> SluiceClient:
        addresses = self.stack.addresses
        return SluiceClient(addresses.gateway, auth_url=addresses.auth, credentials=AccessToken(token))


async def registered(stack: Stack, http: ClientSession, name: str) -> Portal:
    wish = {
        "client_name": name,
        "redirect_uris": [REDIRECT],
        "grant_types": ["authorization_code", "client_credentials"],
        "token_endpoint_auth_method": "client_secret_post",
        "scope": f"{SCOPES} system/*.rs",
    }
    async with http.post("/oauth/register", json=wish) as answer:
        assert answer.status == 201, await answer.text()
        return Portal(stack, http, await answer.json())


@pytest.fixture
async def portal(stack: Stack) -> AsyncIterator[Portal]:
    async with ClientSession(stack.addresses.auth, cookie_jar=DummyCookieJar()) as http:
        yield await registered(stack, http, "Portal")


async def add_person(stack: Stack, name: str) -> str:
    """Make an account as operators do; gives the id that grants know the person by."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "sluice_auth.operators", "add-user", name, "--password-stdin"],
        env={**os.environ, "SLUICE_POSTGRES": stack.dsn("sluice_auth")},
        input=f"{PASSWORD}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()[1]


async def refusals(http: ClientSession, token: str, urls: list[str]) -> list[tuple[int, str, bytes]]:
    """Ask for each address, then for the first one's deletion; give what whoever asks is told."""
    found = []
    for method, url in [*(("GET", url) for url in urls), ("DELETE", urls[0])]:
        async with http.request(method, url, headers={"Authorization": f"Bearer {token}"}) as answer:
            found.append((answer.status, answer.content_type, await answer.read()))
    return found


async def test_an_export_is_its_persons_and_not_the_clients_that_asked_for_it(
    stack: Stack, portal: Portal
) -> None:
    sample = await load_sample(stack)
    members = sample.patients[:3]
    person = await add_person(stack, "ann")
    async with operator(stack) as operators:
        group = (await operators.create_group("Ann's patients")).id
        await operators.add_members(group, members)
        await operators.give_grant(user=person, group=group)
    token = await portal.acting_for("ann", PASSWORD)
    own = await portal.token(grant_type="client_credentials")
    wish = ExportRequest(level=ExportLevel.GROUP, group=group, types=("Patient", "Condition"))

    async with portal.sluice(own) as client:
        with pytest.raises(ApiError) as refused:
            await client.start_export(wish)
        assert refused.value.status == 404  # what the person was granted, the client was not

    async with portal.sluice(token) as client, ClientSession() as http:
        location = await client.start_export(wish)
        manifest = await client.wait_for_export(location)
        files = {item.type: item.url for item in manifest.files}
        assert set(files) == {"Patient", "Condition"}
        urls = [location, *files.values()]

        stranger = await registered(stack, portal.http, "Stranger")
        others = [own, await stranger.token(grant_type="client_credentials")]
        others.append(await portal.acting_for("demo", stack.layout.home.secrets().demo_password))
        unknown = await refusals(http, token, [f"{location}x", *(f"{url}x" for url in files.values())])
        assert {status for status, _, _ in unknown} == {404}
        for other in others:
            assert await refusals(http, other, urls) == unknown

        async with http.get(files["Patient"], headers={"Authorization": f"Bearer {token}"}) as answer:
            lines = (await answer.read()).splitlines()
        assert {json.loads(line)["id"] for line in lines} == set(members)
        await client.delete_export(location)
        assert await refusals(http, token, urls) == unknown
