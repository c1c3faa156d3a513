"""Registration of clients that act for users, and the rotation of secrets."""

from typing import Any

import pytest

from sluice_auth.model import Action
from support.auth_browser import BOTH, REDIRECT
from support.auth_server import ISSUER, auth_server, body_of

CODE = ["authorization_code"]


async def test_a_client_registers_its_addresses_and_is_shown_them() -> None:
    async with auth_server() as server:
        client = await server.sign_up(redirect_uris=[REDIRECT, REDIRECT], grant_types=BOTH)
        assert client["redirect_uris"] == [REDIRECT]
        assert client["grant_types"] == BOTH
        assert client["response_types"] == ["code"]
        assert client["client_secret"]


async def test_whoever_has_an_address_is_taken_to_want_codes() -> None:
    async with auth_server() as server:
        assert (await server.sign_up(redirect_uris=[REDIRECT]))["grant_types"] == CODE
        assert (await server.sign_up())["grant_types"] == ["client_credentials"]


async def test_a_public_client_has_no_secret() -> None:
    async with auth_server() as server:
        client = await server.sign_up(redirect_uris=[REDIRECT], token_endpoint_auth_method="none")
        assert client["token_endpoint_auth_method"] == "none"
        assert "client_secret" not in client


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "codes without an address": ({"grant_types": CODE}, "invalid_redirect_uri"),
    "an address without codes": (
        {"redirect_uris": [REDIRECT], "grant_types": ["client_credentials"]},
        "invalid_redirect_uri",
    ),
    "renewal of nothing": (
        {"grant_types": ["refresh_token", "client_credentials"]},
        "invalid_client_metadata",
    ),
    "public, acting for itself": (
        {"token_endpoint_auth_method": "none", "grant_types": ["client_credentials"]},
        "invalid_client_metadata",
    ),
    "public, acting for both": (
        {
            "token_endpoint_auth_method": "none",
            "redirect_uris": [REDIRECT],
            "grant_types": [*CODE, "client_credentials"],
        },
        "invalid_client_metadata",
    ),
    "public by default grants": ({"token_endpoint_auth_method": "none"}, "invalid_client_metadata"),
    "public with keys": (
        {
            "token_endpoint_auth_method": "none",
            "redirect_uris": [REDIRECT],
            "jwks_uri": "https://portal.test/jwks",
        },
        "invalid_client_metadata",
    ),
    "plain http": ({"redirect_uris": ["http://portal.test/cb"]}, "invalid_redirect_uri"),
    "one bad address of two": ({"redirect_uris": [REDIRECT, "javascript:x"]}, "invalid_redirect_uri"),
    "a scheme of its own": ({"redirect_uris": ["app.portal:/cb"]}, "invalid_redirect_uri"),
    "too many": ({"redirect_uris": [f"{REDIRECT}/{n}" for n in range(11)]}, "invalid_redirect_uri"),
    "not a list": ({"redirect_uris": REDIRECT}, "invalid_client_metadata"),
    "a token by response": (
        {"redirect_uris": [REDIRECT], "response_types": ["code", "token"]},
        "invalid_client_metadata",
    ),
    "a response without codes": ({"response_types": ["code"]}, "invalid_client_metadata"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_does_not_go_together_is_not_registered(case: str) -> None:
    async with auth_server() as server:
        metadata, error = REFUSED[case]
        assert (await server.sign_up(400, **metadata))["error"] == error


async def rotate(server: Any, client: dict[str, Any], token: str, status: int = 200) -> dict[str, Any]:
    path = f"{client['registration_client_uri'].removeprefix(ISSUER)}/secret"
    async with server.http.post(path, headers={"Authorization": f"Bearer {token}"}) as answer:
        return await body_of(answer, status)


async def test_a_secret_is_changed_by_whoever_holds_the_registration_token() -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        changed = await rotate(server, client, client["registration_access_token"])
        assert changed["client_secret"] != client["client_secret"]
        assert (await server.token(client, 401))["error"] == "invalid_client"
        assert await server.token({**client, "client_secret": changed["client_secret"]})
        again = await rotate(server, client, client["registration_access_token"])
        assert again["client_secret"] != changed["client_secret"]
        assert server.store.audit[-1].action is Action.ROTATE_SECRET
        assert again["client_secret"] not in repr(server.store._state)


async def test_nobody_else_changes_it() -> None:
    async with auth_server() as server:
        client, other = await server.sign_up(), await server.sign_up()
        for token in (other["registration_access_token"], client["client_secret"], "x"):
            assert (await rotate(server, client, token, 401))["error"] == "invalid_token"
        assert await server.token(client)


async def test_a_client_without_a_secret_has_none_to_change() -> None:
    async with auth_server() as server:
        public = await server.sign_up(redirect_uris=[REDIRECT], token_endpoint_auth_method="none")
        answer = await rotate(server, public, public["registration_access_token"], 400)
        assert answer["error"] == "invalid_client_metadata"


async def test_a_client_that_turns_public_loses_its_secret() -> None:
    async with auth_server() as server:
        client = await server.sign_up(redirect_uris=[REDIRECT])
        path = client["registration_client_uri"].removeprefix(ISSUER)
        body = {
            "client_id": client["client_id"],
            "redirect_uris": [REDIRECT],
            "token_endpoint_auth_method": "none",
        }
        holder = {"Authorization": f"Bearer {client['registration_access_token']}"}
        async with server.http.put(path, json=body, headers=holder) as answer:
            assert "client_secret" not in await body_of(answer, 200)
        stored = await server.store.client(client["client_id"])
        assert stored is not None
        assert stored.secret_hash is None
