"""Talking to a running stack over its HTTP API, as an operator and as a portal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from sluice_stack.stack import Stack

ADVANCE = {"X-SBG-Advance-Access": "Advance"}


class Portal:
    """One signed-up client with a token; `project` is one of its own. Use `portal(stack)` to get one."""

    def __init__(self, stack: Stack, http: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.gateway = stack.layout.gateway_url
        self.auth = stack.layout.auth_url
        self.source = stack.layout.source_url
        self.project = ""
        self._http = http
        self._token = ""

    async def call(self, method: str, url: str, **options: Any) -> Any:
        """Send a request and give the decoded answer; an error status fails the test."""
        status, body = await self.ask(method, url, **options)
        assert status < 400, f"{method} {url}: {status} {body}"
        return body

    async def ask(self, method: str, url: str, **options: Any) -> tuple[int, Any]:
        """Send a request with the client's token and give status and decoded answer."""
        headers = {"Authorization": f"Bearer {self._token}", **ADVANCE, **options.pop("headers", {})}
        async with self._http.request(method, url, headers=headers, **options) as response:
            body = await response.read()
            return response.status, msgspec.json.decode(body) if body else None

    async def token(self, client: str, secret: str, scope: str) -> str:
        """Get an access token by client credentials."""
        headers = {"Authorization": aiohttp.encode_basic_auth(client, secret)}
        form = {"grant_type": "client_credentials", "scope": scope}
        async with self._http.post(f"{self.auth}/oauth/token", data=form, headers=headers) as response:
            assert response.status == 200, await response.text()
            token: str = (await response.json())["access_token"]
            return token

    async def sign_up(self) -> None:
        """Register a client, get its token and make its project."""
        scope = "bulk/import files/read files/write"
        asked = {"client_name": "test", "grant_types": ["client_credentials"], "scope": scope}
        client = await self.call("POST", f"{self.auth}/oauth/register", json=asked)
        self._token = await self.token(client["client_id"], client["client_secret"], scope)
        project = await self.call("POST", f"{self.gateway}/v2/projects", json={"name": "Test"})
        self.project = project["id"]

    async def register_sources(self, **drafts: dict[str, Any]) -> None:
        """As the stack's operator, register the demo source's bases that are not registered yet."""
        secrets = self.stack.layout.home.secrets()
        token = await self.token(secrets.operator_id, secrets.operator_secret, "ops/sources")
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{self.gateway}/v2/fhir/sources"
        known = {each["base_url"] for each in (await self.call("GET", url, headers=headers))["items"]}
        for base, draft in drafts.items():
            wanted = {"name": base, "base_url": f"{self.source}/{base}/fhir", **draft}
            if wanted["base_url"] not in known:
                await self.call("POST", url, json=wanted, headers=headers)

    async def submit(self, documents: Sequence[str], **fields: Any) -> str:
        """Import up to 100 documents into the project and give the job's id."""
        items = [{"fhir_document_reference": url, "project": self.project} for url in documents]
        accepted = await self.call("POST", f"{self.gateway}/v2/bulk/fhir", json={"items": items, **fields})
        job: str = accepted["id"]
        return job

    async def finished(self, job: str, seconds: float = 120.0) -> dict[str, Any]:
        """Wait until a job has ended and give it with all its results."""
        deadline = time.monotonic() + seconds
        while True:
            shown: dict[str, Any] = await self.call("GET", f"{self.gateway}/v2/bulk/fhir/{job}?limit=100")
            if shown["state"] == "FINISHED":
                return shown
            assert time.monotonic() < deadline, shown["counts"]
            await asyncio.sleep(0.2)


@asynccontextmanager
async def portal(stack: Stack) -> AsyncIterator[Portal]:
    """Give a client of its own, with the demo source's open bases registered."""
    async with aiohttp.ClientSession() as http:
        made = Portal(stack, http)
        await made.sign_up()
        await made.register_sources(synthea={}, ncpi={}, r4={})
        yield made
