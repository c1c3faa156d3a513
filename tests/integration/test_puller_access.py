"""Sources that ask who we are: each way of telling them, also anew in the middle of a file."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from aiohttp import web

from sluice_contracts.events import JobOutcome
from sluice_fhir.source_auth import (
    BackendServicesAuth,
    BearerAuth,
    ClientCredentialsAuth,
    SourceAuth,
    with_key,
)
from sluice_fhir.sources import SourceChange
from support.hostile import http_source
from support.pulling import PullSite, pull_site
from support.resource_store import lines_of
from support.stack import Database

LINES = lines_of(*({"resourceType": "Patient", "id": f"p{n}"} for n in range(1000)))


class Guard:
    """Protects a source: hands out tokens, of which only the last one counts."""

    def __init__(self, site: PullSite, fixed: str | None = None) -> None:
        self.site = site
        self.good = fixed
        self.forms: list[dict[str, Any]] = []
        http = site.source.http
        http.on("/token", self._token)
        for path in [path for path in http.answers if path.startswith("/fhir/")]:
            http.on(path, self._guarded(http.answers[path]))

    async def _token(self, request: web.Request) -> web.Response:
        self.forms.append(dict(await request.post()))
        self.good = f"token-{len(self.forms)}"
        return web.json_response({"access_token": self.good, "token_type": "Bearer", "expires_in": 300})

    def _guarded(self, answer: Any) -> Any:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Authorization") != f"Bearer {self.good}":
                return web.Response(status=401)
            found: web.StreamResponse = await answer(request)
            return found

        return guarded


def kinds() -> dict[str, SourceAuth]:
    # The port is the source's, which is known when it runs.
    url = "http://127.0.0.1:1/token"
    return {
        "bearer": BearerAuth(token="fixed"),
        "secret": ClientCredentialsAuth(token_url=url, client_id="c", client_secret="s", scope="system/*.rs"),
        "key": with_key(BackendServicesAuth(token_url=url, client_id="c", scope="system/*.rs")),
    }


async def register(site: PullSite, auth: SourceAuth) -> None:
    if isinstance(auth, (ClientCredentialsAuth, BackendServicesAuth)):
        auth = msgspec.structs.replace(auth, token_url=f"{site.source.http.origin}/token")
    assert await site.sources.update(site.source_id, SourceChange(auth=auth)) is not None


@pytest.mark.parametrize("kind", ["bearer", "secret", "key"])
async def test_a_protected_source_is_pulled_from(database: Database, kind: str) -> None:
    async with pull_site(database) as site:
        await register(site, kinds()[kind])
        site.source.manifest["requiresAccessToken"] = True
        site.source.patients("a", "p1")
        guard = Guard(site, "fixed" if kind == "bearer" else None)
        assert (await site.pull()).outcome is JobOutcome.COMPLETED
        assert [form["grant_type"] for form in guard.forms] == ["client_credentials"] * (kind != "bearer")
        if kind == "key":
            assert guard.forms[0]["client_assertion"].count(".") == 2


async def test_a_token_that_runs_out_in_the_middle_of_a_file_is_renewed(database: Database) -> None:
    async with pull_site(database) as site:
        await register(site, kinds()["secret"])
        site.source.manifest["requiresAccessToken"] = True
        guard: Guard

        async def breaking(request: web.Request) -> web.StreamResponse:
            start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
            response = web.StreamResponse(status=206 if start else 200, headers={"ETag": '"v"'})
            if start:
                response.headers["Content-Range"] = f"bytes {start}-{len(LINES) - 1}/{len(LINES)}"
            response.content_length = len(LINES) - start
            await response.prepare(request)
            await response.write(LINES[start : start + 20_000])
            if start + 20_000 < len(LINES):
                # From here on the token counts for nothing.
                guard.good = "another"
                assert request.transport is not None
                request.transport.close()
            return response

        site.source.http.on("/fhir/files/breaking", breaking)
        site.source.list_file(f"{site.source.http.origin}/fhir/files/breaking")
        guard = Guard(site)
        assert (await site.pull()).outcome is JobOutcome.COMPLETED
        assert len(await site.stored()) == 1000
        assert len(guard.forms) >= 2


async def test_a_fixed_token_that_is_refused_in_the_middle_fails_the_file(database: Database) -> None:
    async with pull_site(database) as site:
        await register(site, kinds()["bearer"])
        site.source.manifest["requiresAccessToken"] = True
        site.source.patients("a", "p1")
        guard = Guard(site, "fixed")

        async def refusing(request: web.Request) -> web.Response:
            guard.good = "another"
            return web.Response(status=401)

        site.source.http.on("/fhir/files/late", refusing)
        site.source.list_file(f"{site.source.http.origin}/fhir/files/late")
        finished = await site.pull(pull_files=1)
        assert finished.failed
        assert set(site.failures().values()) == {("source_refused", 401)}


async def test_credentials_go_nowhere_they_are_not_asked_for(database: Database) -> None:
    async with http_source() as other, pull_site(database, attachment_prefixes=(other.base,)) as site:
        await register(site, BearerAuth(token="fixed"))
        site.source.manifest["requiresAccessToken"] = True
        site.source.patients("a", "p1")
        other.on("/fhir/b", lines_of({"resourceType": "Patient", "id": "p2"}))
        site.source.list_file(f"{other.base}/b")
        await site.pull()
        assert set(await site.stored()) == {"Patient/p1", "Patient/p2"}
        (asked,) = site.source.asked_for("/fhir/files/a")
        assert asked.headers["Authorization"] == "Bearer fixed"
        assert "Authorization" not in other.asked[0].headers

        site.source.manifest["requiresAccessToken"] = False
        await site.pull()
        assert "Authorization" not in site.source.asked_for("/fhir/files/a")[1].headers
        assert all("Authorization" in each.headers for each in site.source.asked_for("/fhir/$export"))


async def test_a_source_that_is_removed_meanwhile_ends_the_job(database: Database) -> None:
    async with pull_site(database) as site:
        site.source.busy = 1000
        await site.publish(site.start())
        async with site.running():
            await site.until_row(lambda row: row["phase"] == "polling")
            await site.sources.delete(site.source_id)
            async with asyncio.timeout(120):
                while not site.failures():  # noqa: ASYNC110 - what is waited for happens in the services
                    await asyncio.sleep(0.02)
        assert site.failures() == {0: ("source_unknown", None)}
