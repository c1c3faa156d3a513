"""Accounts and passwords."""

import asyncio

import pytest

from sluice_auth.errors import OAuthError
from sluice_auth.passwords import HASHER, Passwords, acceptable
from sluice_auth.people import fold_name
from sluice_auth.sessions import Attempts, SessionService
from sluice_auth.throttle import Throttle
from sluice_auth.user_accounts import AccountError, Accounts
from support.auth_browser import PASSWORD, Browser, add_user
from support.auth_server import auth_server, cheap_passwords
from support.auth_store import MemoryStore

NOW = 1_800_000_000.0


async def test_passwords_are_kept_as_argon2id_at_the_recommended_cost() -> None:
    stored = await Passwords().hash(PASSWORD)
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert PASSWORD not in stored
    assert HASHER.check_needs_rehash(stored) is False
    assert await Passwords().matches(PASSWORD, stored)


async def test_only_the_password_itself_matches() -> None:
    passwords = cheap_passwords()
    stored = await passwords.hash(PASSWORD)
    for wrong in (PASSWORD.upper(), f"{PASSWORD} ", "", "\0" * 12, "\ud800", PASSWORD * 1_000):
        assert not await passwords.matches(wrong, stored)
    assert not await passwords.matches(PASSWORD, None)
    assert not await passwords.matches("\0" * 12, None)
    assert not await passwords.matches(PASSWORD, "not a hash")
    assert await passwords.hash(PASSWORD) != stored


async def test_hashing_does_not_stop_everything_else() -> None:
    turned = asyncio.Event()
    hashing = asyncio.create_task(Passwords().hash(PASSWORD))
    asyncio.get_running_loop().call_soon(turned.set)
    await turned.wait()
    assert not hashing.done()
    await hashing


async def test_a_crowd_is_told_to_come_back_and_does_not_fill_the_memory() -> None:
    passwords = cheap_passwords()
    stored = await passwords.hash(PASSWORD)
    async with auth_server() as server:
        sessions = SessionService(
            server.store,
            passwords,
            attempts=Attempts(*(Throttle(1_000, 60, now=server.clock) for _ in range(2))),
            lifetime=60,
            now=server.clock,
        )
        crowd = [asyncio.create_task(passwords.matches(PASSWORD, stored)) for _ in range(40)]
        await asyncio.sleep(0)
        assert passwords.busy()
        with pytest.raises(OAuthError) as caught:
            await sessions.sign_in("ann", PASSWORD, "")
        assert caught.value.status == 429
        assert all(await asyncio.gather(*crowd))
        assert not passwords.busy()
        assert await sessions.sign_in("ann", PASSWORD, "") is None


@pytest.mark.parametrize(
    ("password", "enough"),
    [("x" * 11, False), ("x" * 12, True), ("x" * 256, True), ("x" * 257, False), ("é" * 200, False)],
)
def test_a_password_is_long_and_not_endless(password: str, enough: bool) -> None:
    assert acceptable(password) is enough


@pytest.mark.parametrize(
    "name", ["", "  ", "a\nb", "a b", "a\u202eb", "a\0b", "\ud800", "x" * 129, "a\u200bb"]
)
def test_a_name_that_could_pass_for_another_is_nobodys(name: str) -> None:
    assert fold_name(name) is None


async def test_an_account_that_cannot_be_is_refused_without_repeating_what_was_typed() -> None:
    accounts = Accounts(MemoryStore(), cheap_passwords())
    await accounts.add("ann", PASSWORD, now=NOW)
    for name, password in (("ANN", PASSWORD), ("", PASSWORD), ("bob", "canary")):
        with pytest.raises(AccountError) as caught:
            await accounts.add(name, password, now=NOW)
        assert password not in str(caught.value)
    for call in (accounts.change_password("bob", PASSWORD, now=NOW), accounts.remove("bob", now=NOW)):
        with pytest.raises(AccountError, match="no such user"):
            await call


async def test_a_new_password_ends_the_sessions_of_the_old_one() -> None:
    async with auth_server() as server:
        await add_user(server)
        browser = Browser(server)
        await browser.signed_in()
        await Accounts(server.store, cheap_passwords()).change_password(
            "Ann", "another password", now=server.clock()
        )
        page = await browser.get("/oauth/consents")
        assert "/oauth/sign-in" in page.forms
        assert (await browser.submit(page, "/oauth/sign-in", name="ann", password=PASSWORD)).status == 403
        page = await browser.sign_in(page, password="another password")
        assert "Signed in as" in page.text


async def test_a_removed_user_cannot_sign_in_and_the_name_can_be_given_anew() -> None:
    async with auth_server() as server:
        former = await add_user(server)
        accounts = Accounts(server.store, cheap_passwords())
        await accounts.remove("ann", now=server.clock())
        page = await Browser(server).get("/oauth/consents")
        assert "/oauth/sign-in" in page.forms
        assert (await add_user(server)).id != former.id
