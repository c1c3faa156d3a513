"""Revocation (RFC 7009), introspection (RFC 7662), discovery, keys, and the edges of HTTP."""

import asyncio
from typing import Any

import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

from sluice_security.authority import HttpAuthority
from sluice_security.tokens import InvalidToken, TokenVerifier
from support.auth_server import GATEWAY, ISSUER, OPERATOR, AuthServer, auth_server, body_of

CANARY = "canary-90be"


def form(client: dict[str, Any], token: str, **more: str) -> dict[str, str]:
    return {
        "client_id": client["client_id"],
        "client_secret": client["client_secret"],
        "token": token,
        **more,
    }


async def introspect(server: AuthServer, client: dict[str, Any], token: str) -> dict[str, Any]:
    return await server.ask(form(client, token), path="/oauth/introspect")


async def test_a_revoked_token_is_inactive_at_once_and_refused_by_resource_servers_soon() -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        token, other = [(await server.token(client))["access_token"] for _ in range(2)]
        authority = HttpAuthority(server.http.session, str(server.http.make_url("/")))
        async with TokenVerifier(
            authority, issuer=ISSUER, audience=GATEWAY, now=server.clock, refresh=0.02
        ) as verifier:
            await verifier.verify(token)
            assert (
                await server.ask(form(client, token, token_type_hint="refresh_token"), path="/oauth/revoke")
                == {}
            )
            assert await introspect(server, client, token) == {"active": False}
            refused = None
            while refused is None:
                await asyncio.sleep(0.01)
                try:
                    await verifier.verify(token)
                except InvalidToken as error:
                    refused = error.code
            assert refused == "revoked"
            assert await verifier.verify(other)
        assert (await introspect(server, client, other))["active"] is True


async def test_revoking_twice_or_what_is_no_token_is_fine() -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        token = (await server.token(client))["access_token"]
        for one in (token, token, CANARY, "x" * 10_000):
            assert await server.ask(form(client, one), path="/oauth/revoke") == {}


async def test_only_its_own_client_revokes_a_token() -> None:
    async with auth_server() as server:
        client, other = await server.sign_up(), await server.sign_up()
        token = (await server.token(client))["access_token"]
        assert (await server.ask(form(other, token), 400, "/oauth/revoke"))["error"] == "invalid_grant"
        assert (await introspect(server, client, token))["active"] is True


@pytest.mark.parametrize("path", ["/oauth/revoke", "/oauth/introspect"])
async def test_whoever_is_not_authenticated_learns_and_does_nothing(path: str) -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        token = (await server.token(client))["access_token"]
        for credentials in ({}, {"client_id": client["client_id"], "client_secret": CANARY}):
            answer = await server.ask({"token": token, **credentials}, 401, path)
            assert answer["error"] == "invalid_client"
        assert (await introspect(server, client, token))["active"] is True


@pytest.mark.parametrize("path", ["/oauth/revoke", "/oauth/introspect"])
async def test_a_token_must_be_given_and_only_once(path: str) -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        pairs = list(form(client, "x").items())
        assert (await server.ask(pairs[:2], 400, path))["error"] == "invalid_request"
        assert (await server.ask([*pairs, ("token", CANARY)], 400, path))["error"] == "invalid_request"


async def test_introspection_tells_a_client_of_its_own_tokens_and_an_operator_of_all() -> None:
    async with auth_server() as server:
        client, other = await server.sign_up(), await server.sign_up()
        operator = {"client_id": OPERATOR[0], "client_secret": OPERATOR[1]}
        token = (await server.token(client, scope="files/read"))["access_token"]
        own = await introspect(server, client, token)
        assert own["active"] is True
        assert (own["client_id"], own["sub"]) == (client["client_id"], client["client_id"])
        assert (own["scope"], own["iss"], own["token_type"]) == ("files/read", ISSUER, "Bearer")
        assert own["exp"] - own["iat"] == 300
        assert await introspect(server, operator, token) == own
        assert await introspect(server, other, token) == {"active": False}
        assert await introspect(server, client, CANARY) == {"active": False}
        server.clock.advance(301)
        assert await introspect(server, client, token) == {"active": False}


async def test_revocations_are_forgotten_when_the_tokens_have_expired() -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        await server.ask(form(client, (await server.token(client))["access_token"]), path="/oauth/revoke")
        assert len(await server.store.revoked(server.clock())) == 1
        server.clock.advance(400)
        assert await server.store.revoked(server.clock()) == {}
        await server.store.forget(server.clock())
        assert server.store._state.revoked == {}


async def test_keys_rotate_while_tokens_of_old_and_new_verify() -> None:
    async with auth_server(key_days=10, key_lead=600) as server:
        client = await server.sign_up()
        authority = HttpAuthority(server.http.session, str(server.http.make_url("/")))
        verifier = TokenVerifier(
            authority, issuer=ISSUER, audience=GATEWAY, now=server.clock, monotonic=server.clock
        )
        kids = set()
        for _ in range(10 * 24 * 12 + 10):
            server.clock.advance(300)
            await server.service.keyring.refresh()
            published = await authority.keys()
            assert 1 <= len(published) <= 2
            assert all("d" not in key and key["alg"] == "ES256" for key in published)
            signer = server.service.keyring.signer().kid
            assert signer in {key["kid"] for key in published}
            if signer not in kids:
                kids.add(signer)
                assert await verifier.verify((await server.token(client))["access_token"])
        assert len(kids) == 2


async def test_only_public_keys_are_published() -> None:
    async with auth_server() as server:
        async with server.http.get("/oauth/jwks") as answer:
            body = await body_of(answer, 200)
            assert answer.headers["Cache-Control"] == "public, max-age=60"
        assert [set(key) for key in body["keys"]] == [{"kty", "crv", "x", "y", "kid", "use", "alg"}]


async def test_discovery_says_what_is_there_and_nothing_else() -> None:
    async with auth_server() as server:
        async with server.http.get("/.well-known/oauth-authorization-server") as answer:
            document = await body_of(answer, 200)
        metadata = AuthorizationServerMetadata(document)
        metadata.validate()
        assert document["issuer"] == ISSUER
        assert document["grant_types_supported"] == [
            "client_credentials",
            "authorization_code",
            "refresh_token",
        ]
        assert document["token_endpoint_auth_signing_alg_values_supported"] == ["RS384", "ES384"]
        assert document["response_types_supported"] == ["code"]
        assert document["code_challenge_methods_supported"] == ["S256"]
        assert "none" in document["token_endpoint_auth_methods_supported"]
        assert "none" in document["revocation_endpoint_auth_methods_supported"]
        assert "none" not in document["introspection_endpoint_auth_methods_supported"]
        assert "ops" not in str(document)
        for name, url in document.items():
            if name.endswith("_endpoint") or name == "jwks_uri":
                method = "GET" if name in ("jwks_uri", "authorization_endpoint") else "POST"
                async with server.http.request(method, url.removeprefix(ISSUER)) as answer:
                    assert answer.status not in (404, 405), name


async def test_the_smart_configuration_names_the_capabilities() -> None:
    async with auth_server() as server:
        async with server.http.get("/.well-known/smart-configuration") as answer:
            document = await body_of(answer, 200)
        assert document["token_endpoint"] == f"{ISSUER}/oauth/token"
        assert document["authorization_endpoint"] == f"{ISSUER}/oauth/authorize"
        assert document["code_challenge_methods_supported"] == ["S256"]
        assert {"authorization_code", "client_credentials"} <= set(document["grant_types_supported"])
        assert {
            "client-confidential-asymmetric",
            "client-confidential-symmetric",
            "client-public",
            "launch-standalone",
            "permission-offline",
            "permission-user",
            "permission-v1",
            "permission-v2",
        } == set(document["capabilities"])
        assert "private_key_jwt" in document["token_endpoint_auth_methods_supported"]


async def test_the_scopes_on_offer_are_those_that_may_be_registered() -> None:
    async with (
        auth_server(client_scopes="bulk/import system/*.cruds") as server,
        server.http.get("/.well-known/smart-configuration") as answer,
    ):
        document = await body_of(answer, 200)
        assert document["scopes_supported"] == [
            "bulk/import",
            "system/*.cruds",
            "system/bulk-submit",
            "system/*.rs",
        ]


async def test_an_issuer_with_a_path_has_its_metadata_below_the_well_known_path() -> None:
    async with auth_server(issuer="https://sluice.test/auth/") as server:
        answer = await server.http.get("/.well-known/oauth-authorization-server/auth")
        assert (await body_of(answer, 200))["issuer"] == "https://sluice.test/auth"


RAW = {
    "two hosts": b"Host: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n",
    "length and chunked": b"Host: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"Host: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
    "chunked in other words": b"Host: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "folded header": b"Host: a\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "header with NUL": b"Host: a\r\nX: " + CANARY.encode() + b"\x00\r\nContent-Length: 0\r\n\r\n",
    "space before the colon": b"Host: a\r\nContent-Length : 0\r\n\r\n",
}


@pytest.mark.parametrize("case", RAW)
async def test_a_request_that_could_be_read_in_two_ways_is_refused(case: str) -> None:
    async with auth_server() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.http.port)
        writer.write(
            b"POST /oauth/token HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n" + RAW[case]
        )
        answer = await asyncio.wait_for(reader.read(), 120)  # to the end: the connection is closed
        assert answer.split()[1] == b"400"
        assert answer.endswith(b"The request was refused.\n")
        writer.close()


async def test_liveness_and_readiness_are_told() -> None:
    async with auth_server() as server:
        for path in ("/livez", "/readyz"):
            async with server.http.get(path) as answer:
                assert answer.status == 200


async def test_metrics_name_routes_and_nothing_that_a_caller_chose() -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        await server.token(client)
        await server.http.get(f"/{CANARY}")
        await server.http.request(CANARY.upper(), "/oauth/token")
        await server.http.get(f"/oauth/register/{CANARY}")
        async with server.http.get("/metrics") as answer:
            text = await answer.text()
        assert 'sluice_auth_requests_total{method="POST",route="/oauth/token",status="200"}' in text
        assert CANARY not in text.lower()
        assert client["client_id"] not in text
