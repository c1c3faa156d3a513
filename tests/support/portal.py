"""A portal as tests play it: signs up, gets tokens, submits imports and polls, over real HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from sluice_stack.stack import Stack

PORTAL_SCOPES = "bulk/import files/read files/write"
OPERATOR_SCOPES = "ops/sources"
_PER_CALL = 100


@dataclass(slots=True)
class Account:
    """An OAuth client with its current token."""

    auth: str
    client_id: str
    client_secret: str
    scope: str
    audience: str
    _token: str = ""
    _until: float = 0.0

    async def token(self, http: aiohttp.ClientSession) -> str:
        """Give a token that is good for a while yet."""
        if time.monotonic() > self._until:
            form = {"grant_type": "client_credentials", "scope": self.scope, "resource": self.audience}
            login = aiohttp.encode_basic_auth(self.client_id, self.client_secret)
            async with http.post(
                f"{self.auth}/oauth/token", data=form, headers={"Authorization": login}
            ) as answer:
                if answer.status >= 500:
                    answer.raise_for_status()  # what it needs is away, which callers wait for
                body = await answer.json()
                assert answer.status == 200, body
            self._token = body["access_token"]
            self._until = time.monotonic() + body["expires_in"] / 2
        return self._token


@dataclass(slots=True)
class Portal:
    """One client of a running stack's gateway."""

    http: aiohttp.ClientSession
    gateway: str
    account: Account
    project: str = ""
    jobs: list[str] = field(default_factory=list)

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Make a call, again while the gateway or what it needs is away; give status and JSON."""
        headers = dict(options.pop("headers", {}))
        headers["X-SBG-Advance-Access"] = "Advance"
        deadline = time.monotonic() + 120
        while True:
            try:
                headers["Authorization"] = f"Bearer {await self.account.token(self.http)}"
                async with self.http.request(
                    method, self.gateway + path, headers=headers, **options
                ) as answer:
                    content = await answer.read()
                    body = msgspec.json.decode(content) if answer.content_type.endswith("json") else None
                    if answer.status < 500:
                        return answer.status, body
            except (aiohttp.ClientError, TimeoutError):
                body = None
            assert time.monotonic() < deadline, f"{method} {path} kept failing: {body}"
            await asyncio.sleep(0.2)

    async def make_project(self, name: str) -> str:
        """Make a project and import into it from now on; give its id."""
        status, body = await self.call("POST", "/v2/projects", json={"name": name})
        assert status in {200, 201}, body
        self.project = body["id"]
        return self.project

    async def submit(
        self,
        references: Sequence[str],
        *,
        key: str | None = None,
        conflict_resolution: str = "SKIP",
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """Submit one import of up to 100 documents, safely repeated under its key; give the job's id."""
        items = [
            {"fhir_document_reference": each, "project": self.project, **(extra or {})} for each in references
        ]
        body = {"items": items, "conflict_resolution": conflict_resolution}
        headers = {"Idempotency-Key": key} if key else {}
        status, answer = await self.call("POST", "/v2/bulk/fhir", json=body, headers=headers)
        assert status == 202, answer
        self.jobs.append(answer["id"])
        return str(answer["id"])

    async def submit_all(self, references: Sequence[str], key: str) -> list[str]:
        """Submit any number of documents, a hundred in each call; `key` is the start of each call's key."""
        starts = range(0, len(references), _PER_CALL)
        return [
            await self.submit(references[start : start + _PER_CALL], key=f"{key}-{start}") for start in starts
        ]

    async def job(self, job: str) -> dict[str, Any]:
        """Poll a job."""
        status, body = await self.call("GET", f"/v2/bulk/fhir/{job}")
        assert status == 200, body
        assert isinstance(body, dict)
        return body

    async def finished(
        self, jobs: Iterable[str], within: float = 120.0, every: float = 0.2
    ) -> list[dict[str, Any]]:
        """Poll until all jobs have ended, `every` so many seconds; give them as last polled."""
        deadline = time.monotonic() + within
        ended: list[dict[str, Any]] = []
        for job in jobs:
            while (body := await self.job(job))["state"] != "FINISHED":
                assert time.monotonic() < deadline, f"job {job} has not ended: {body['counts']}"
                await asyncio.sleep(every)
            ended.append(body)
        return ended


@asynccontextmanager
async def operator(stack: Stack, http: aiohttp.ClientSession) -> AsyncIterator[Portal]:
    """Act as the stack's operator."""
    secrets = stack.layout.home.secrets()
    account = Account(
        stack.layout.auth_url,
        secrets.operator_id,
        secrets.operator_secret,
        OPERATOR_SCOPES,
        stack.layout.gateway_url,
    )
    yield Portal(http, stack.layout.gateway_url, account)


async def register_source(stack: Stack, http: aiohttp.ClientSession, name: str, **settings: Any) -> None:
    """Register one of the demo source's bases, if it is not registered yet."""
    body = {"name": name, "base_url": f"{stack.layout.source_url}/{name}/fhir", **settings}
    async with operator(stack, http) as desk:
        status, answer = await desk.call("POST", "/v2/fhir/sources", json=body)
        assert status in {200, 201, 409}, answer


async def sign_up(stack: Stack, http: aiohttp.ClientSession, name: str = "test portal") -> Account:
    """Register a client with the stack's authorization server."""
    wanted = {
        "client_name": name,
        "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "client_secret_basic",
        "scope": PORTAL_SCOPES,
    }
    async with http.post(f"{stack.layout.auth_url}/oauth/register", json=wanted) as answer:
        body = await answer.json()
        assert answer.status == 201, body
    return Account(
        stack.layout.auth_url,
        body["client_id"],
        body["client_secret"],
        PORTAL_SCOPES,
        stack.layout.gateway_url,
    )


@asynccontextmanager
async def new_portal(stack: Stack, project: str = "import") -> AsyncIterator[Portal]:
    """Sign a portal up and give it a project of its own; the demo source's `r4` base is registered."""
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        await register_source(stack, http, "r4")
        portal = Portal(http, stack.layout.gateway_url, await sign_up(stack, http))
        await portal.make_project(project)
        yield portal
