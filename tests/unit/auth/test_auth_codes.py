"""Codes: good once, for whom they were made, and only with the verifier that nobody else has."""

import pytest

from sluice_auth.client_secrets import usable_id
from sluice_auth.code_grants import challenge_of
from sluice_security.tokens import Principal, check
from support.auth_browser import (
    REDIRECT,
    SCOPES,
    VERIFIER,
    Browser,
    add_user,
    asking,
    portal,
    public_portal,
    redeem,
    refresh,
)
from support.auth_server import GATEWAY, ISSUER, OPERATOR, AuthServer, KeyClient, auth_server


def principal(server: AuthServer, token: str, audience: str = GATEWAY) -> Principal:
    keys = server.service.keyring.public()
    return check(token, keys, issuer=ISSUER, audiences=[audience], now=server.clock())


async def revoked(server: AuthServer, token: str) -> bool:
    """Ask as an operator whether a token still counts."""
    form = {"token": token, "client_id": OPERATOR[0], "client_secret": OPERATOR[1]}
    return not (await server.ask(form, path="/oauth/introspect"))["active"]


async def test_the_token_speaks_for_the_user_through_the_client() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        user = await add_user(server)
        client = await portal(server)
        given = await redeem(server, client, await Browser(server).code(client))
        who = principal(server, given["access_token"])
        assert (who.client, who.subject) == (client["client_id"], user.id)
        assert given["scope"] == "files/read user/*.rs"
        assert given["expires_in"] == 300
        assert "refresh_token" not in given


async def test_no_clients_id_can_be_taken_for_a_users() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        assert (await add_user(server)).id.startswith("user-")
        assert not (await portal(server))["client_id"].startswith("user-")
        assert not usable_id("user-1")


async def test_a_key_client_redeems_with_its_assertion() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        keys = KeyClient()
        await keys.sign_up(server, redirect_uris=[REDIRECT])
        code = await Browser(server).code({"client_id": keys.id})
        form = keys.form(
            keys.assertion(server.clock()),
            grant_type="authorization_code",
            code=code,
            redirect_uri=REDIRECT,
            code_verifier="v" * 43,
        )
        del form["scope"]
        assert "access_token" in await server.ask(form)


async def test_a_public_client_redeems_by_its_name_and_the_verifier() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client = await public_portal(server)
        assert "client_secret" not in client
        assert "access_token" in await redeem(server, client, await Browser(server).code(client))


async def test_a_confidential_client_does_not_get_by_without_its_secret() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client = await portal(server)
        code = await Browser(server).code(client)
        answer = await redeem(server, {"client_id": client["client_id"]}, code, 401)
        assert answer["error"] == "invalid_client"
        assert "access_token" in await redeem(server, client, code)


WRONG = {
    "another verifier": {"code_verifier": "w" * 43},
    "the challenge itself": {"code_verifier": challenge_of(VERIFIER)},
    "a short verifier": {"code_verifier": "v" * 42},
    "an odd verifier": {"code_verifier": "é" * 43},
    "another address": {"redirect_uri": "https://portal.test/other"},
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_guess_gives_nothing_and_spends_the_code(case: str) -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client = await portal(server)
        code = await Browser(server).code(client)
        assert (await redeem(server, client, code, 400, **WRONG[case]))["error"] == "invalid_grant"
        assert (await redeem(server, client, code, 400))["error"] == "invalid_grant"


@pytest.mark.parametrize("name", ["code_verifier", "redirect_uri"])
async def test_what_a_code_is_bound_to_cannot_be_left_out(name: str) -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client = await portal(server)
        code = await Browser(server).code(client)
        assert (await redeem(server, client, code, 400, **{name: ""}))["error"] == "invalid_request"
        assert (await redeem(server, client, "", 400))["error"] == "invalid_request"
        assert "access_token" in await redeem(server, client, code)


async def test_a_code_injected_into_another_session_of_the_client_fails_for_the_verifier() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client = await portal(server)
        victims = await Browser(server).code(client, code_challenge="A" * 43)
        assert (await redeem(server, client, victims, 400))["error"] == "invalid_grant"


async def test_a_code_is_worth_nothing_to_another_client() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client, thief = await portal(server), await portal(server)
        code = await Browser(server).code(client)
        assert (await redeem(server, thief, code, 400))["error"] == "invalid_grant"


async def test_a_code_lasts_no_longer_than_a_minute() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client, browser = await portal(server), Browser(server)
        code = await browser.code(client)
        server.clock.advance(59)
        assert "access_token" in await redeem(server, client, code)
        code = await browser.code(client)
        server.clock.advance(60)
        assert (await redeem(server, client, code, 400))["error"] == "invalid_grant"
        with pytest.raises(ValueError, match="code_lifetime"):
            async with auth_server(code_lifetime=61):
                pass


async def test_a_code_that_is_used_again_takes_back_all_that_it_gave() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client = await portal(server)
        code = await Browser(server).code(client, scope="files/read offline_access")
        given = await redeem(server, client, code)
        renewed = await refresh(server, client, given["refresh_token"])
        assert not await revoked(server, given["access_token"])
        assert (await redeem(server, client, code, 400))["error"] == "invalid_grant"
        assert await revoked(server, given["access_token"])
        assert await revoked(server, renewed["access_token"])
        answer = await refresh(server, client, renewed["refresh_token"], 400)
        assert answer["error"] == "invalid_grant"


async def test_the_token_is_for_the_resource_that_was_consented_to() -> None:
    async with auth_server(client_scopes=SCOPES, audiences="https://second.test") as server:
        await add_user(server)
        client, browser = await portal(server), Browser(server)
        code = await browser.code(client, resource="https://second.test/")
        answer = await redeem(server, client, code, 400, resource=GATEWAY)
        assert answer["error"] == "invalid_target"
        code = await browser.code(client, resource="https://second.test/")
        given = await redeem(server, client, code)
        assert principal(server, given["access_token"], "https://second.test")


async def test_what_the_client_lost_since_is_not_given() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client = await portal(server)
        code = await Browser(server).code(client)
        body = {
            "client_id": client["client_id"],
            "redirect_uris": [REDIRECT],
            "scope": "files/read",
            "token_endpoint_auth_method": "client_secret_post",
        }
        path = client["registration_client_uri"].removeprefix(ISSUER)
        holder = {"Authorization": f"Bearer {client['registration_access_token']}"}
        async with server.http.put(path, json=body, headers=holder) as answer:
            assert answer.status == 200
        assert (await redeem(server, client, code))["scope"] == "files/read"


async def test_a_code_is_kept_as_a_hash_and_forgotten_in_time() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client = await portal(server)
        code = await Browser(server).code(client)
        assert code not in repr(server.store._state)
        await server.store.forget(server.clock() + 59)
        assert server.store._state.people.codes
        await server.store.forget(server.clock() + 60)
        assert not server.store._state.people.codes


async def test_users_and_clients_scopes_do_not_mix() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client = await portal(server, grant_types=["authorization_code", "client_credentials"])
        alone = await server.token(client)
        assert alone["scope"] == "bulk/import files/read files/write system/*.rs"
        acting = await redeem(server, client, await Browser(server).code(client, scope=None))
        assert acting["scope"] == "bulk/import files/read files/write user/*.rs"
        assert (await Browser(server).get(asking(client))).status == 200
