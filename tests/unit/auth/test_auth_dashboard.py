"""People at the gateway's page: the client it is, who may act as an operator there, what scripts may read."""

import pytest
from pydantic import ValidationError

from sluice_auth.first_things import DASHBOARD, put_dashboard, put_people
from sluice_auth.user_accounts import AccountError, Accounts
from support.auth_browser import PASSWORD, Browser, add_user, public_portal, redeem, refresh
from support.auth_server import GATEWAY, AuthServer, auth_server, cheap_passwords, settings
from support.auth_store import MemoryStore

PAGE = {"client_id": DASHBOARD, "redirect_uri": f"{GATEWAY}/dashboard/signed-in"}
WANTED = "bulk/import files/read files/write ops/sources ops/dead-letters offline_access"
NOW = 1_800_000_000.0


async def signed_in(server: AuthServer) -> dict[str, str]:
    code = await Browser(server).code(PAGE, redirect_uri=PAGE["redirect_uri"], scope=WANTED)
    return await redeem(server, PAGE, code, redirect_uri=PAGE["redirect_uri"])


async def test_operators_scopes_are_for_operators_and_end_with_the_office() -> None:
    async with auth_server() as server:
        await put_dashboard(server.store, GATEWAY, now=server.clock())
        await add_user(server)
        plain = await signed_in(server)
        assert "ops/" not in plain["scope"]
        assert "bulk/import" in plain["scope"]

        accounts = Accounts(server.store, cheap_passwords())
        await accounts.change_operator("ann", operator=True, now=server.clock())
        # What was consented to stays what it was: an office does not widen it.
        renewed = await refresh(server, PAGE, plain["refresh_token"])
        assert "ops/" not in renewed["scope"]
        given = await signed_in(server)
        assert {"ops/sources", "ops/dead-letters"} <= set(given["scope"].split())

        await accounts.change_operator("ann", operator=False, now=server.clock())
        assert "ops/" not in (await refresh(server, PAGE, given["refresh_token"]))["scope"]


async def test_an_application_that_signed_itself_up_acts_as_an_operator_for_nobody() -> None:
    async with auth_server() as server:
        await add_user(server)
        await Accounts(server.store, cheap_passwords()).change_operator(
            "ann", operator=True, now=server.clock()
        )
        client = await public_portal(server, scope=WANTED)
        code = await Browser(server).code(client, scope=WANTED)
        assert "ops/" not in (await redeem(server, client, code))["scope"]


async def test_scripts_of_other_sites_read_tokens_and_metadata_and_no_page() -> None:
    async with auth_server() as server:
        for path in ("/.well-known/oauth-authorization-server", "/oauth/jwks"):
            async with server.http.get(path) as answer:
                assert answer.headers["Access-Control-Allow-Origin"] == "*"
        async with server.http.post("/oauth/token", data={"grant_type": "refresh_token"}) as answer:
            assert answer.status >= 400
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in answer.headers
        for path in ("/oauth/authorize", "/oauth/consents", "/oauth/revoked"):
            async with server.http.get(path) as answer:
                assert "Access-Control-Allow-Origin" not in answer.headers


async def test_the_page_is_registered_once_and_follows_the_gateways_address() -> None:
    store = MemoryStore()
    assert await put_dashboard(store, GATEWAY, now=NOW)
    assert not await put_dashboard(store, GATEWAY, now=NOW + 1)
    assert await put_dashboard(store, "https://elsewhere.test", now=NOW)
    client = await store.client(DASHBOARD)
    assert client is not None
    assert client.redirects == ("https://elsewhere.test/dashboard/signed-in",)
    assert client.secret_hash is None


async def test_people_of_the_settings_are_made_once_and_keep_the_password_they_changed() -> None:
    store, people = MemoryStore(), settings(bootstrap_people=f"ann:{'p' * 12} bob:{'q' * 12}:operator").people
    passwords = cheap_passwords()
    await put_people(store, passwords, people, now=NOW)
    accounts = Accounts(store, passwords)
    await accounts.change_password("ann", PASSWORD, now=NOW)
    await put_people(store, passwords, people, now=NOW)
    async with store.begin() as work:
        ann, bob = await work.people.user_named("ann"), await work.people.user_named("bob")
    assert ann is not None
    assert bob is not None
    assert await passwords.matches(PASSWORD, ann.password_hash)
    assert (ann.operator, bob.operator) == (False, True)


@pytest.mark.parametrize("wrong", ["ann", "ann:short", f":{'p' * 12}", f"ann:{'p' * 12}:admin"])
def test_people_that_cannot_be_are_refused_at_the_start(wrong: str) -> None:
    with pytest.raises(ValidationError, match="name:password"):
        settings(bootstrap_people=wrong)


async def test_nobody_who_is_not_there_becomes_an_operator() -> None:
    with pytest.raises(AccountError, match="no such user"):
        await Accounts(MemoryStore(), cheap_passwords()).change_operator("ann", operator=True, now=NOW)
