"""Keys registered by address: when they are asked for, how long they are kept, and what is made of them."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sluice_auth.guarded_keys import LIMITS, fetching
from sluice_auth.remote_keys import KeysUnreachableError, lifetime
from sluice_security.http import GuardedClient
from support.auth_server import AuthServer, KeyClient, auth_server

URL = "https://portal.test/jwks.json"


async def client_at(server: AuthServer, **kwargs: Any) -> KeyClient:
    client = KeyClient(**kwargs)
    server.web.publish(URL, client.public)
    await client.sign_up(server, jwks_uri=URL)
    return client


async def use(server: AuthServer, client: KeyClient, status: int = 200, **header: Any) -> dict[str, Any]:
    return await server.ask(client.form(client.assertion(server.clock(), header=header)), status)


async def test_a_registered_address_is_asked_once_for_as_long_as_it_says() -> None:
    async with auth_server() as server:
        client = await client_at(server)
        assert server.web.asked == []
        for _ in range(3):
            await use(server, client)
        assert server.web.asked == [URL]
        server.clock.advance(60)
        await use(server, client, jku=URL)
        assert server.web.asked == [URL] * 2


async def test_a_rotated_key_is_found_at_once_and_strangers_cannot_make_the_server_knock() -> None:
    async with auth_server() as server:
        client = await client_at(server)
        await use(server, client)
        rotated = KeyClient(kid="k2")
        rotated.id = client.id
        server.web.publish(URL, client.public, rotated.public)
        await use(server, rotated, 401)  # asked for a moment ago
        server.clock.advance(10)
        await use(server, rotated)
        assert server.web.asked == [URL] * 2
        for number in range(5):
            await use(server, client, 401, kid=f"k{number + 3}")
        assert server.web.asked == [URL] * 2


async def test_a_withdrawn_key_is_no_longer_good_when_the_set_has_aged() -> None:
    async with auth_server() as server:
        client = await client_at(server)
        await use(server, client)
        server.web.publish(URL, KeyClient(kid="k2").public)
        server.clock.advance(61)
        assert "registered key" in (await use(server, client, 401))["error_description"]


async def test_an_address_that_does_not_answer_is_a_refusal_and_is_not_asked_at_once_again() -> None:
    async with auth_server() as server:
        client = await client_at(server)
        page = server.web.pages.pop(URL)
        for _ in range(3):
            answer = await use(server, client, 401)
            assert answer["error"] == "invalid_client"
            assert "cannot be read" in answer["error_description"]
        assert server.web.asked == [URL]
        server.web.pages[URL] = page
        server.clock.advance(10)
        await use(server, client)


@pytest.mark.parametrize("page", [None, (b"<html>", ""), (b"[]", "max-age=3600")])
async def test_keys_are_kept_for_as_long_as_was_allowed_while_their_address_fails(
    page: tuple[bytes, str] | None,
) -> None:
    async with auth_server() as server:
        client = await client_at(server)
        await use(server, client)
        del server.web.pages[URL]
        if page is not None:
            server.web.pages[URL] = page
        server.clock.advance(10)
        await use(server, client, 401, kid="unknown")
        assert server.web.asked == [URL] * 2
        await use(server, client)
        server.clock.advance(50)
        assert "cannot be read" in (await use(server, client, 401))["error_description"]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"keys": {}}', b"\xff", b"[" * 9000, b'{"keys": []}']
)
async def test_a_page_that_is_no_key_set_verifies_nothing(body: bytes) -> None:
    async with auth_server() as server:
        client = await client_at(server)
        server.web.pages[URL] = (body, "")
        assert (await use(server, client, 401))["error"] == "invalid_client"


async def test_only_what_can_verify_is_taken_from_a_set() -> None:
    async with auth_server() as server:
        client = await client_at(server)
        private = dict(client.key.as_dict(private=True))
        server.web.publish(
            URL, {"kty": "oct", "k": "AAAA", "kid": "k1"}, {**client.public, "use": "enc"}, private
        )
        await use(server, client, 401)
        server.clock.advance(61)
        server.web.publish(URL, {"kid": 7}, {}, client.public)
        await use(server, client)
        server.clock.advance(61)
        server.web.publish(URL, client.public, client.public)
        assert "exactly one" in (await use(server, client, 401))["error_description"]


async def test_a_jku_of_another_place_is_refused_and_not_asked() -> None:
    async with auth_server() as server:
        client = await client_at(server)
        answer = await use(server, client, 401, jku="https://evil.test/jwks")
        assert "jku" in answer["error_description"]
        assert server.web.asked == [URL]


async def test_many_requests_at_once_share_one_question() -> None:
    async with auth_server() as server:
        client = await client_at(server)
        await asyncio.gather(*(use(server, client) for _ in range(8)))
        assert server.web.asked == [URL]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 300),
        ("public", 300),
        ("max-age=60", 60),
        ("public, Max-Age=60, immutable", 60),
        ('max-age="60"', 60),
        ("max-age=999999", 3600),
        ("max-age=0", 0),
        ("no-store", 0),
        ("no-cache, max-age=60", 0),
        ("s-maxage=60", 300),
        ("max-age=-5", 300),
    ],
)
def test_a_set_is_kept_no_longer_than_its_server_allows(header: str, seconds: float) -> None:
    assert lifetime(header) == seconds


async def test_key_sets_are_fetched_through_the_guarded_client() -> None:
    async def jwks(_request: web.Request) -> web.Response:
        return web.json_response({"keys": []}, headers={"Cache-Control": "max-age=7"})

    async def away(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere")

    async def large(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 300_000)

    app = web.Application()
    app.add_routes([web.get("/jwks", jwks), web.get("/away", away), web.get("/large", large)])
    async with TestServer(app) as server, GuardedClient(limits=LIMITS, loopback=True) as outgoing:
        fetch = fetching(outgoing, loopback=True)
        body, cache = await fetch(str(server.make_url("/jwks")))
        assert json.loads(body) == {"keys": []}
        assert cache == "max-age=7"
        for path in ("/away", "/large", "/nothing"):
            with pytest.raises(KeysUnreachableError):
                await fetch(str(server.make_url(path)))
        with pytest.raises(KeysUnreachableError):
            await fetching(outgoing, loopback=False)(str(server.make_url("/jwks")))
