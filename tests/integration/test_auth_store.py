"""One suite for the authorization server's two stores: the real one, and the one that unit tests use."""

import asyncio
from dataclasses import replace

import pytest

from sluice_auth.keyring import Keyring, Rotation, Schedule
from sluice_auth.model import Action, AuthMethod, Client, Entry, GrantType
from sluice_security.scopes import Scopes
from sluice_security.sealing import Seal
from support.auth_store import Stores

pytest_plugins = ["support.auth_stores"]

NOW = 1_800_000_000.0

CLIENT = Client(
    id="portal",
    name="Portal Ä",
    method=AuthMethod.PRIVATE_KEY_JWT,
    grants=(GrantType.CLIENT_CREDENTIALS,),
    scopes=Scopes.parse("bulk/import system/*.rs"),
    created_at=NOW,
    secret_hash=b"\x00\xff",
    registration_hash=b"\x01",
    keys=({"kty": "EC", "kid": "k1", "note": "with \u0000 in it"},),
    details={"contacts": ["ops@portal.test"]},
    operator=True,
)


async def test_a_client_comes_back_as_it_was_put(store: Stores) -> None:
    async with store.begin() as work:
        assert await work.client("portal") is None
        await work.add_client(CLIENT)
    async with store.begin() as work:
        assert await work.client("portal") == CLIENT
        assert await work.client("portal\0") is None
    assert await store.client("portal") == CLIENT
    assert await store.client("another") is None


async def test_a_changed_client_comes_back_changed_and_a_removed_one_not_at_all(store: Stores) -> None:
    changed = replace(
        CLIENT, name="New", keys=None, keys_url="https://portal.test/jwks", operator=False, details={}
    )
    async with store.begin() as work:
        await work.add_client(CLIENT)
        await work.change_client(changed, NOW + 1)
        assert await work.client("portal") == changed
        await work.remove_client("portal", NOW + 2)
        assert await work.client("portal") is None
        await work.add_client(CLIENT)
        assert await work.client("portal") == CLIENT


async def test_what_fails_halfway_never_was(store: Stores) -> None:
    async def fail() -> None:
        async with store.begin() as work:
            await work.add_client(CLIENT)
            await work.use_assertion("portal", "1", NOW + 300)
            await work.revoke("d", NOW, NOW + 300)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with store.begin() as work:
        assert await work.client("portal") is None
        assert await work.use_assertion("portal", "1", NOW + 300)
    assert await store.revoked(NOW) == {}


async def test_an_assertion_is_used_once_by_however_many_at_once(store: Stores) -> None:
    async def use() -> bool:
        async with store.begin() as work:
            return await work.use_assertion("portal", "same", NOW + 300)

    assert sorted(await asyncio.gather(*(use() for _ in range(8)))) == [False] * 7 + [True]
    async with store.begin() as work:
        assert await work.use_assertion("another", "same", NOW + 300)
        assert await work.use_assertion("portal", "x" * 1000, NOW + 300)
        assert not await work.use_assertion("portal", "x" * 1000, NOW + 300)


async def test_revocations_only_grow_and_are_forgotten_in_time(store: Stores) -> None:
    async with store.begin() as work:
        await work.revoke("token", NOW + 10, NOW + 20)
        await work.revoke("token", NOW, NOW + 5)
        await work.revoke("client", NOW + 1, NOW + 100)
        assert await work.issued_until(["token", "client"]) == NOW + 10
        assert await work.issued_until(["client", "none"]) == NOW + 1
        assert await work.issued_until(["none"]) == float("-inf")
        assert await work.use_assertion("portal", "1", NOW + 20)
    assert await store.revoked(NOW) == {"token": NOW + 10, "client": NOW + 1}
    assert await store.revoked(NOW + 20) == {"client": NOW + 1}
    await store.forget(NOW + 20)
    async with store.begin() as work:
        assert await work.issued_until(["token"]) == float("-inf")
        assert await work.use_assertion("portal", "1", NOW + 40)


async def test_processes_that_start_together_make_one_key(store: Stores) -> None:
    seal = Seal(b"s" * 32, "test")
    rings = [Keyring(store, seal, schedule=Schedule(), now=lambda: NOW) for _ in range(6)]
    await asyncio.gather(*(ring.refresh() for ring in rings))
    assert len({ring.signer().kid for ring in rings}) == 1
    assert [len(ring.published()) for ring in rings] == [1] * 6
    await rings[0].refresh(Rotation.AT_ONCE)
    await rings[1].refresh()
    assert rings[1].published() == rings[0].published()
    assert rings[2].signer().kid != rings[1].signer().kid


async def test_an_audit_record_may_leave_everything_out_but_what_and_when(store: Stores) -> None:
    async with store.begin() as work:
        await work.record(Entry(NOW, Action.TOKEN, "invalid_client"))
        await work.record(Entry(NOW, Action.TOKEN, "ok", "portal", "ann", "jti"))
        await work.add_client(CLIENT)
    async with store.begin() as work:
        assert await work.client("portal") == CLIENT
