"""Users, consents, codes and refresh tokens: one suite for both stores, and races before the real one."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import pytest

from sluice_auth.model import AuthMethod, Client, GrantType
from sluice_auth.people import Authorization, Consent, User
from sluice_auth.postgres import PostgresStore
from sluice_auth.user_accounts import AccountError, Accounts
from sluice_security.scopes import Scopes
from sluice_storage.pool import open_pool
from support.auth_browser import PASSWORD, SCOPES, Browser, add_user, portal, redeem, refresh
from support.auth_server import OPERATOR, AuthServer, auth_server, cheap_passwords
from support.auth_store import MemoryStore, Stores
from support.stack import Database

pytest_plugins = ["support.auth_stores"]

NOW = 1_800_000_000.0
ANN = User("user-a", "ann", "hash", NOW)
CLIENT = Client(
    id="portal",
    name="Portal",
    method=AuthMethod.NONE,
    grants=(GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN),
    scopes=Scopes.parse("user/*.rs offline_access"),
    created_at=NOW,
    redirects=("https://portal.test/a", "http://127.0.0.1/b"),
)
GIVEN = Authorization(
    id="a1",
    client="portal",
    user="user-a",
    scopes=Scopes.parse("user/*.rs offline_access"),
    resource="https://api.test",
    redirect_uri="https://portal.test/a",
    challenge="c" * 43,
    code_expires=NOW + 60,
    expires=NOW + 60,
)


async def settle(store: Stores) -> None:
    async with store.begin() as work:
        await work.add_client(CLIENT)
        assert await work.people.add_user(ANN)
        await work.authorizations.add(GIVEN, b"code")


async def test_users_come_back_and_a_removed_one_leaves_the_name_free(store: Stores) -> None:
    await settle(store)
    async with store.begin() as work:
        assert await work.client("portal") == CLIENT
        assert await work.people.user("user-a") == await work.people.user_named("ann") == ANN
        assert not await work.people.add_user(replace(ANN, id="user-b"))
        await work.people.change_password("user-a", "new", NOW)
        assert await work.people.user("user-a") == replace(ANN, password_hash="new")
        await work.people.remove_user("user-a", NOW)
        assert await work.people.user("user-a") is await work.people.user_named("ann") is None
        assert await work.people.add_user(replace(ANN, id="user-b"))
        await work.people.remove_user("user-b", NOW)


async def test_a_session_is_its_users_until_it_ends(store: Stores) -> None:
    await settle(store)
    async with store.begin() as work:
        for name in (b"1", b"2", b"3"):
            await work.people.open_session(name, "user-a", NOW, NOW + 10)
        assert await work.people.session(b"1", NOW + 9) == ANN
        assert await work.people.session(b"1", NOW + 10) is None
        assert await work.people.session(b"?", NOW) is None
        await work.people.close_session(b"1")
        assert await work.people.session(b"1", NOW) is None
    await store.forget(NOW + 9)
    async with store.begin() as work:
        assert await work.people.session(b"2", NOW) == ANN
        await work.people.close_sessions("user-a")
        assert await work.people.session(b"2", NOW) is None
        await work.people.open_session(b"4", "user-a", NOW, NOW + 10)
        await work.people.remove_user("user-a", NOW)
        assert await work.people.session(b"4", NOW) is None


async def test_consents_replace_each_other_and_are_withdrawn_by_client(store: Stores) -> None:
    await settle(store)
    first = Consent("user-a", "portal", "https://a.test", Scopes.parse("files/read"), NOW, "Portal")
    second = Consent("user-a", "portal", "https://b.test", Scopes.parse("user/*.rs"), NOW + 1, "Portal")
    async with store.begin() as work:
        assert await work.people.consent("user-a", "portal", "https://a.test") == Scopes()
        for consent in (first, second, replace(first, scopes=Scopes.parse("files/write"))):
            await work.people.remember(consent)
        assert await work.people.consent("user-a", "portal", "https://a.test") == Scopes.parse("files/write")
        assert await work.people.consents("user-a") == [
            second,
            replace(first, scopes=Scopes.parse("files/write")),
        ]
        assert await work.people.consents("user-b") == []
        await work.people.withdraw("user-a", "another")
        assert len(await work.people.consents("user-a")) == 2
        await work.remove_client("portal", NOW)
        assert await work.people.consents("user-a") == []
        await work.add_client(CLIENT)
        await work.people.withdraw("user-a", "portal")
        assert await work.people.consents("user-a") == []


async def test_an_authorization_remembers_what_came_of_it(store: Stores) -> None:
    await settle(store)
    async with store.begin() as work:
        given = work.authorizations
        assert await given.by_code(b"another") is await given.by_refresh(b"r1") is None
        assert await given.by_code(b"code") == GIVEN
        await given.redeem("a1", NOW + 1, NOW + 500)
        redeemed = replace(GIVEN, redeemed=True, expires=NOW + 500)
        await given.add_refresh("a1", b"r1", NOW)
        assert await given.by_code(b"code") == await given.by_refresh(b"r1") == redeemed
        assert await given.use_refresh(b"r1", NOW)
        assert not await given.use_refresh(b"r1", NOW)
        assert not await given.use_refresh(b"unknown", NOW)
        assert await given.by_refresh(b"r1") == redeemed
        await given.note_token("a1", "j1", NOW + 300)
        await given.note_token("a1", "j2", NOW + 400)
        assert list(await given.of("user-a")) == list(await given.of("user-a", "portal")) == ["a1"]
        assert list(await given.of("user-a", "another")) == list(await given.of("user-b")) == []
    await store.forget(NOW + 300)
    async with store.begin() as work:
        assert await work.authorizations.revoke("a1", NOW + 300) == {"j2": NOW + 400}
        assert await work.authorizations.revoke("a1", NOW + 301) == {}
        assert await work.authorizations.by_code(b"code") == replace(redeemed, revoked=True)
        assert list(await work.authorizations.of("user-a")) == []
    await store.forget(NOW + 500)
    async with store.begin() as work:
        assert await work.authorizations.by_code(b"code") is None
        assert await work.authorizations.by_refresh(b"r1") is None


async def test_of_two_who_take_a_name_at_once_one_gets_it(store: Stores) -> None:
    accounts = Accounts(store, cheap_passwords())

    async def take() -> bool:
        try:
            await accounts.add("ann", PASSWORD, now=NOW)
        except AccountError:
            return False
        return True

    assert sorted(await asyncio.gather(*(take() for _ in range(6)))) == [False] * 5 + [True]


@pytest.fixture
async def server(database: Database) -> AsyncIterator[AuthServer]:
    async with (
        await open_pool(database.dsn_for("auth"), size=8) as pool,
        # Only what both stores have is used here.
        auth_server(cast("MemoryStore", PostgresStore(pool)), client_scopes=SCOPES) as running,
    ):
        await add_user(running)
        yield running


async def active(server: AuthServer, token: str) -> bool:
    form = {"token": token, "client_id": OPERATOR[0], "client_secret": OPERATOR[1]}
    return bool((await server.ask(form, path="/oauth/introspect"))["active"])


async def test_a_code_that_many_redeem_at_once_gives_one_token_and_takes_it_back(server: AuthServer) -> None:
    client = await portal(server)
    code = await Browser(server).code(client, scope="files/read offline_access")

    async def attempt() -> dict[str, str] | None:
        try:
            return await redeem(server, client, code)
        except AssertionError:
            return None

    given = [answer for answer in await asyncio.gather(*(attempt() for _ in range(6))) if answer]
    assert len(given) == 1
    assert not await active(server, given[0]["access_token"])
    assert (await refresh(server, client, given[0]["refresh_token"], 400))["error"] == "invalid_grant"


async def test_a_refresh_token_that_many_use_at_once_renews_once_and_ends_the_family(
    server: AuthServer,
) -> None:
    client = await portal(server)
    first = await redeem(
        server, client, await Browser(server).code(client, scope="files/read offline_access")
    )

    async def attempt() -> dict[str, str] | None:
        try:
            return await refresh(server, client, first["refresh_token"])
        except AssertionError:
            return None

    renewed = [answer for answer in await asyncio.gather(*(attempt() for _ in range(6))) if answer]
    assert len(renewed) == 1
    assert not await active(server, first["access_token"])
    assert not await active(server, renewed[0]["access_token"])
    assert (await refresh(server, client, renewed[0]["refresh_token"], 400))["error"] == "invalid_grant"


async def test_withdrawing_while_the_client_renews_leaves_it_nothing(server: AuthServer) -> None:
    client, browser = await portal(server), Browser(server)
    given = await redeem(server, client, await browser.code(client, scope="files/read offline_access"))
    page = await browser.get("/oauth/consents")

    async def renew() -> dict[str, str] | None:
        try:
            return await refresh(server, client, given["refresh_token"])
        except AssertionError:
            return None

    withdrawal = browser.submit(page, "/oauth/consents/withdraw", client_id=client["client_id"])
    renewed, answer = await asyncio.gather(renew(), withdrawal)
    assert answer.status == 303
    assert not await active(server, given["access_token"])
    assert renewed is None or not await active(server, renewed["access_token"])
    assert (await refresh(server, client, (renewed or given)["refresh_token"], 400))[
        "error"
    ] == "invalid_grant"
