"""Tokens are had once, renewed in time, proven as their server asks, and kept where they belong."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web
from joserfc import jwk, jwt

from sluice_contracts.errors import ItemError
from sluice_fhir.client import FhirClient
from sluice_fhir.source_auth import (
    AssertionAlgorithm,
    BackendServicesAuth,
    ClientCredentialsAuth,
    SecretStyle,
    public_jwk,
    shown,
    with_key,
)
from sluice_fhir.source_tokens import SourceTokens
from sluice_fhir.sources import Source
from sluice_security.http import GuardedClient, SourceFailure
from support.hostile import HttpSource, document, http_source


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class TokenServer:
    """Gives numbered tokens and remembers what it was asked."""

    def __init__(self, server: HttpSource, expires_in: float | None = 300) -> None:
        self.forms: list[dict[str, str]] = []
        self.headers: list[Any] = []
        self.expires_in = expires_in
        self.status = 200
        self.url = f"{server.origin}/token"
        server.on("/token", self.answer)

    async def answer(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.forms.append({name: str(value) for name, value in form.items()})
        self.headers.append(request.headers)
        if self.status != 200:
            return web.json_response({"error": "invalid_client"}, status=self.status)
        body = {"access_token": f"token-{len(self.forms)}", "token_type": "bearer"}
        return web.json_response(body if self.expires_in is None else {**body, "expires_in": self.expires_in})


@pytest.fixture
async def server() -> AsyncIterator[HttpSource]:
    async with http_source() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def tokens(clock: Clock) -> AsyncIterator[SourceTokens]:
    async with GuardedClient(loopback=True) as http:
        yield SourceTokens(http, clock=clock)


def secret_auth(url: str, **more: Any) -> ClientCredentialsAuth:
    return ClientCredentialsAuth(token_url=url, client_id="id:1", client_secret="s e/c", **more)


def source_with(auth: Any, base: str = "https://fhir.example.org", revision: int = 1) -> Source:
    return Source(id="s1", name="Test", base_url=base, auth=auth, revision=revision)


async def test_a_token_is_asked_for_once_by_all_who_want_it(server: HttpSource, tokens: SourceTokens) -> None:
    given = TokenServer(server)
    source = source_with(secret_auth(given.url, scope="system/*.rs"))
    headers = await asyncio.gather(*(tokens.headers(source) for _ in range(20)))
    assert {each["Authorization"] for each in headers} == {"Bearer token-1"}
    assert given.forms == [{"grant_type": "client_credentials", "scope": "system/*.rs"}]
    pair = base64.b64decode(given.headers[0]["Authorization"].removeprefix("Basic ")).decode()
    assert pair == "id%3A1:s+e%2Fc"


async def test_a_secret_may_travel_in_the_form(server: HttpSource, tokens: SourceTokens) -> None:
    given = TokenServer(server)
    await tokens.headers(source_with(secret_auth(given.url, style=SecretStyle.POST)))
    assert given.forms[0]["client_id"] == "id:1"
    assert given.forms[0]["client_secret"] == "s e/c"
    assert "Authorization" not in given.headers[0]


async def test_one_asker_who_gives_up_does_not_take_the_token_from_the_others(
    server: HttpSource, tokens: SourceTokens
) -> None:
    given = TokenServer(server)
    source = source_with(secret_auth(given.url))
    first, second = (asyncio.create_task(tokens.headers(source)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second)["Authorization"] == "Bearer token-1"
    with pytest.raises(asyncio.CancelledError):
        await first


@pytest.mark.parametrize(("life", "fresh"), [(300, 269), (10, 8.9), (None, 269), (10**9, 86_000)])
async def test_a_token_is_renewed_shortly_before_it_expires(
    server: HttpSource, tokens: SourceTokens, clock: Clock, life: float | None, fresh: float
) -> None:
    given = TokenServer(server, life)
    source = source_with(secret_auth(given.url))
    await tokens.headers(source)
    clock.now += fresh
    await tokens.headers(source)
    assert len(given.forms) == 1
    clock.now += 400
    assert (await tokens.headers(source))["Authorization"] == "Bearer token-2"


async def test_changed_credentials_get_a_token_of_their_own(server: HttpSource, tokens: SourceTokens) -> None:
    given = TokenServer(server)
    await tokens.headers(source_with(secret_auth(given.url)))
    await tokens.headers(source_with(secret_auth(given.url), revision=2))
    assert len(given.forms) == 2


@pytest.mark.parametrize("algorithm", list(AssertionAlgorithm))
async def test_backend_services_are_proven_by_a_signed_assertion(
    server: HttpSource, tokens: SourceTokens, clock: Clock, algorithm: AssertionAlgorithm
) -> None:
    given = TokenServer(server, 0)
    auth = with_key(
        BackendServicesAuth(token_url=given.url, client_id="c1", scope="system/*.rs", algorithm=algorithm)
    )
    for _ in range(2):
        await tokens.headers(source_with(auth))
    form = given.forms[0]
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    public = public_jwk(auth)
    assert public is not None
    assert "d" not in public
    seen = [
        jwt.decode(each["client_assertion"], jwk.import_key(public), algorithms=[algorithm.value])
        for each in given.forms
    ]
    assert seen[0].header == {"alg": algorithm.value, "kid": public["kid"], "typ": "JWT"}
    claims = seen[0].claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("c1", "c1", given.url)
    assert 0 < claims["exp"] - clock.now <= 300
    assert claims["jti"] != seen[1].claims["jti"]


@pytest.mark.parametrize(
    ("status", "retry"), [(400, False), (401, False), (429, True), (503, True), (302, False)]
)
async def test_a_refusal_of_the_token_server_is_told_and_not_repeated_at_once(
    server: HttpSource, tokens: SourceTokens, clock: Clock, status: int, retry: bool
) -> None:
    given = TokenServer(server)
    given.status = status
    source = source_with(secret_auth(given.url))
    for _ in range(3):
        with pytest.raises(SourceFailure) as caught:
            await tokens.headers(source)
        assert (caught.value.code, caught.value.retry) == (ItemError.SOURCE_AUTHORIZATION, retry)
    assert len(given.forms) == 1
    given.status = 200
    clock.now += 6
    assert (await tokens.headers(source))["Authorization"] == "Bearer token-2"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"access_token":"a\\r\\nX: y"}',
        b'{"access_token":""}',
        b'{"access_token":"a","token_type":"mac"}',
        b'{"access_token":"a","expires_in":"x"}',
        b'{"access_token":"' + b"a" * 70_000 + b'"}',
    ],
)
async def test_an_answer_that_is_no_token_is_none(
    server: HttpSource, tokens: SourceTokens, body: bytes
) -> None:
    server.on("/token", body)
    with pytest.raises(SourceFailure) as caught:
        await tokens.headers(source_with(secret_auth(f"{server.origin}/token")))
    assert caught.value.code is ItemError.SOURCE_AUTHORIZATION


async def test_a_token_server_out_of_reach_may_come_back(tokens: SourceTokens) -> None:
    with pytest.raises(SourceFailure) as caught:
        await tokens.headers(source_with(secret_auth("http://127.0.0.1:9/token")))
    assert (caught.value.code, caught.value.retry) == (ItemError.SOURCE_AUTHORIZATION, True)


async def test_a_token_the_source_does_not_take_any_more_is_renewed_once(server: HttpSource) -> None:
    given = TokenServer(server)

    async def only_second(request: web.Request) -> web.Response:
        good = request.headers["Authorization"] == "Bearer token-2"
        return web.Response(body=document()) if good else web.Response(status=401)

    server.on("/fhir/DocumentReference/d1", only_second)
    async with GuardedClient(loopback=True) as http:
        client = FhirClient(http)
        source = source_with(secret_auth(given.url), server.base)
        assert (await client.get_resource(source, "DocumentReference/d1")).id == "d1"
        server.status("/fhir/DocumentReference/d1", 401)
        with pytest.raises(SourceFailure) as caught:
            await client.get_resource(source, "DocumentReference/d1")
    assert caught.value.code is ItemError.SOURCE_REFUSED
    assert len(given.forms) == 3


def test_nothing_that_is_shown_holds_a_secret() -> None:
    auth = secret_auth("https://t.example/token")
    key = with_key(BackendServicesAuth(token_url="https://t.example/token", client_id="c"))
    assert key.key is not None
    for each, secret in ((auth, "s e/c"), (key, key.key["d"])):
        source = source_with(each)
        assert secret not in repr(source)
        assert secret not in msgspec.json.encode(shown(each)).decode()
