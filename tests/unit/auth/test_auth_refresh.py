"""Refresh tokens: renewed with each use, and worthless all together once two hold one."""

from sluice_auth.user_accounts import Accounts
from support.auth_browser import (
    SCOPES,
    Browser,
    add_user,
    credentials_of,
    portal,
    public_portal,
    redeem,
    refresh,
)
from support.auth_server import OPERATOR, AuthServer, auth_server, cheap_passwords

OFFLINE = "files/read user/*.rs offline_access"


async def active(server: AuthServer, token: str) -> bool:
    form = {"token": token, "client_id": OPERATOR[0], "client_secret": OPERATOR[1]}
    return bool((await server.ask(form, path="/oauth/introspect"))["active"])


async def test_whoever_may_act_unattended_renews_the_token_and_the_right_to_renew_it() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        user = await add_user(server)
        for client in (await portal(server), await public_portal(server)):
            given = await redeem(server, client, await Browser(server).code(client, scope=OFFLINE))
            assert given["scope"] == "files/read offline_access user/*.rs"
            for _ in range(3):
                server.clock.advance(86_400)
                renewed = await refresh(server, client, given["refresh_token"])
                assert renewed["refresh_token"] != given["refresh_token"]
                assert await active(server, renewed["access_token"])
                given = renewed
            assert server.store.audit[-2].subject == user.id


async def test_the_access_token_itself_says_nothing_of_renewal() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client = await portal(server)
        given = await redeem(server, client, await Browser(server).code(client, scope=OFFLINE))
        form = {"token": given["access_token"], "client_id": OPERATOR[0], "client_secret": OPERATOR[1]}
        said = await server.ask(form, path="/oauth/introspect")
        assert said["scope"] == "files/read user/*.rs"


async def test_a_client_that_is_not_registered_for_it_gets_none() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client = await portal(server, grant_types=["authorization_code"])
        given = await redeem(server, client, await Browser(server).code(client, scope=OFFLINE))
        assert "refresh_token" not in given
        assert given["scope"] == "files/read user/*.rs"
        assert (await refresh(server, client, "any", 400))["error"] == "unauthorized_client"


async def test_a_token_that_is_used_twice_ends_the_whole_family() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client = await portal(server)
        first = await redeem(server, client, await Browser(server).code(client, scope=OFFLINE))
        second = await refresh(server, client, first["refresh_token"])
        assert (await refresh(server, client, first["refresh_token"], 400))["error"] == "invalid_grant"
        assert (await refresh(server, client, second["refresh_token"], 400))["error"] == "invalid_grant"
        assert not await active(server, first["access_token"])
        assert not await active(server, second["access_token"])


async def test_one_family_does_not_answer_for_another() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client, browser = await portal(server), Browser(server)
        one = await redeem(server, client, await browser.code(client, scope=OFFLINE))
        other = await redeem(server, client, await browser.code(client, scope=OFFLINE))
        await refresh(server, client, one["refresh_token"])
        await refresh(server, client, one["refresh_token"], 400)
        assert await refresh(server, client, other["refresh_token"])


async def test_a_token_is_worth_nothing_to_another_client_and_not_spent_by_it() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client, thief = await portal(server), await public_portal(server)
        given = await redeem(server, client, await Browser(server).code(client, scope=OFFLINE))
        assert (await refresh(server, thief, given["refresh_token"], 400))["error"] == "invalid_grant"
        stolen = {"client_id": client["client_id"]}
        assert (await refresh(server, stolen, given["refresh_token"], 401))["error"] == "invalid_client"
        assert await refresh(server, client, given["refresh_token"])


async def test_a_renewal_may_ask_for_less_and_never_for_more() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client = await portal(server)
        given = await redeem(server, client, await Browser(server).code(client, scope=OFFLINE))
        less = await refresh(server, client, given["refresh_token"], scope="user/Patient.rs files/write")
        assert less["scope"] == "user/Patient.rs"
        full = await refresh(server, client, less["refresh_token"])
        assert full["scope"] == "files/read offline_access user/*.rs"


async def test_a_wish_that_cannot_be_granted_does_not_cost_the_token() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client = await portal(server)
        given = await redeem(server, client, await Browser(server).code(client, scope=OFFLINE))
        token = given["refresh_token"]
        assert (await refresh(server, client, token, 400, scope="files/write"))["error"] == "invalid_scope"
        answer = await refresh(server, client, token, 400, resource="https://evil.test")
        assert answer["error"] == "invalid_target"
        assert await refresh(server, client, token)


async def test_it_ends_after_the_days_that_were_set_however_often_it_is_renewed() -> None:
    async with auth_server(client_scopes=SCOPES, refresh_days=2) as server:
        await add_user(server)
        client = await portal(server)
        given = await redeem(server, client, await Browser(server).code(client, scope=OFFLINE))
        server.clock.advance(86_400)
        given = await refresh(server, client, given["refresh_token"])
        server.clock.advance(86_400)
        assert (await refresh(server, client, given["refresh_token"], 400))["error"] == "invalid_grant"


async def test_revoking_a_refresh_token_takes_back_what_came_of_it() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        for client in (await portal(server), await public_portal(server)):
            given = await redeem(server, client, await Browser(server).code(client, scope=OFFLINE))
            form = {"token": given["refresh_token"], **credentials_of(client)}
            assert await server.ask(form, path="/oauth/revoke") == {}
            assert not await active(server, given["access_token"])
            await refresh(server, client, given["refresh_token"], 400)
            assert await server.ask(form, path="/oauth/revoke") == {}


async def test_nobody_revokes_another_clients_refresh_token() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client, other = await portal(server), await public_portal(server)
        given = await redeem(server, client, await Browser(server).code(client, scope=OFFLINE))
        form = {"token": given["refresh_token"], "client_id": other["client_id"]}
        assert (await server.ask(form, 400, path="/oauth/revoke"))["error"] == "invalid_grant"
        assert await refresh(server, client, given["refresh_token"])


async def test_a_user_who_is_removed_is_acted_for_by_nobody() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client, browser = await portal(server), Browser(server)
        given = await redeem(server, client, await browser.code(client, scope=OFFLINE))
        code = await browser.code(client)
        await Accounts(server.store, cheap_passwords()).remove("ann", now=server.clock())
        assert not await active(server, given["access_token"])
        assert (await refresh(server, client, given["refresh_token"], 400))["error"] == "invalid_grant"
        assert (await redeem(server, client, code, 400))["error"] == "invalid_grant"
        assert "/oauth/sign-in" in (await browser.get("/oauth/consents")).forms


async def test_refresh_tokens_are_kept_as_hashes() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client = await portal(server)
        given = await redeem(server, client, await Browser(server).code(client, scope=OFFLINE))
        assert given["refresh_token"] not in repr(server.store._state)


async def test_a_public_client_may_not_ask_what_tokens_are() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        client = await public_portal(server)
        form = {"token": "any", "client_id": client["client_id"]}
        assert (await server.ask(form, 401, path="/oauth/introspect"))["error"] == "invalid_client"
