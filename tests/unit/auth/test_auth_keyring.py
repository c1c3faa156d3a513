"""Signing keys: when each is made, published, used and withdrawn, in one process and in several."""

import pytest

from sluice_auth.keyring import Keyring, KeysUnreadableError, NoKeyError, Rotation, Schedule
from sluice_auth.throttle import Throttle
from sluice_security.sealing import Seal
from support.auth_server import Clock
from support.auth_store import MemoryStore

SCHEDULE = Schedule(period=1000, lead=100, keep=50)
SEAL = Seal(b"s" * 32, "test")


def keyring(store: MemoryStore, clock: Clock, seal: Seal = SEAL) -> Keyring:
    return Keyring(store, seal, schedule=SCHEDULE, now=clock)


def kids(ring: Keyring) -> list[object]:
    return [key["kid"] for key in ring.published()]


async def test_the_first_key_signs_at_once_and_all_processes_share_it() -> None:
    store, clock = MemoryStore(), Clock()
    one, two = keyring(store, clock), keyring(store, clock)
    assert not one.ready
    with pytest.raises(NoKeyError):
        one.signer()
    await one.refresh()
    await two.refresh()
    assert one.signer().kid == two.signer().kid
    assert one.public()[one.signer().kid] == two.public()[one.signer().kid]


async def test_a_successor_is_published_first_then_signs_then_the_old_key_goes() -> None:
    store, clock = MemoryStore(), Clock()
    ring = keyring(store, clock)
    await ring.refresh()
    old = ring.signer().kid
    clock.advance(899)
    await ring.refresh()
    assert kids(ring) == [old]
    clock.advance(1)
    await ring.refresh()
    assert len(kids(ring)) == 2
    assert ring.signer().kid == old
    clock.advance(99)
    assert ring.signer().kid == old
    clock.advance(1)
    new = ring.signer().kid
    assert new != old
    clock.advance(49)
    await ring.refresh()
    assert set(kids(ring)) == {old, new}
    clock.advance(1)
    await ring.refresh()
    assert kids(ring) == [new]


async def test_another_process_knows_the_new_key_before_it_signs() -> None:
    store, clock = MemoryStore(), Clock()
    one, two = keyring(store, clock), keyring(store, clock)
    await one.refresh()
    clock.advance(900)
    await one.refresh()
    await two.refresh()
    clock.advance(100)
    assert one.signer().kid == two.signer().kid
    assert one.signer().kid in two.public()


async def test_after_a_long_stop_a_key_still_signs() -> None:
    store, clock = MemoryStore(), Clock()
    ring = keyring(store, clock)
    await ring.refresh()
    old = ring.signer().kid
    clock.advance(100_000)
    await ring.refresh()
    assert ring.signer().kid == old
    clock.advance(100)
    assert ring.signer().kid != old


async def test_a_rotation_can_be_asked_for_and_is_not_repeated_while_it_is_under_way() -> None:
    store, clock = MemoryStore(), Clock()
    ring = keyring(store, clock)
    await ring.refresh()
    clock.advance(10)
    for _ in range(2):
        await ring.refresh(Rotation.NEXT)
        assert len(kids(ring)) == 2


async def test_compromised_keys_are_withdrawn_at_once() -> None:
    store, clock = MemoryStore(), Clock()
    ring, other = keyring(store, clock), keyring(store, clock)
    await ring.refresh()
    await other.refresh()
    old = ring.signer().kid
    await ring.refresh(Rotation.AT_ONCE)
    await other.refresh()
    assert kids(ring) == kids(other)
    assert old not in kids(other)


async def test_keys_sealed_under_another_secret_are_an_error_and_not_replaced() -> None:
    store, clock = MemoryStore(), Clock()
    await keyring(store, clock).refresh()
    with pytest.raises(KeysUnreadableError):
        await keyring(store, clock, Seal(b"t" * 32, "test")).refresh()
    assert len(store._state.keys) == 1


async def test_no_private_number_is_stored_in_the_clear() -> None:
    store, clock = MemoryStore(), Clock()
    ring = keyring(store, clock)
    await ring.refresh()
    private = str(ring.signer().key.as_dict(private=True)["d"])
    assert private.encode() not in store._state.keys[0].sealed
    assert all("d" not in key for key in ring.published())


def test_a_throttle_lets_so_many_through_in_a_window_and_forgets_the_quiet() -> None:
    clock = Clock()
    throttle = Throttle(2, 60, now=clock, keys=3)
    throttle.count("a")
    clock.advance(30)
    throttle.count("a")
    assert throttle.wait("a") == 30
    assert throttle.wait("b") == 0
    clock.advance(30)
    assert throttle.wait("a") == 0
    throttle.count("a")
    assert throttle.wait("a") == 30
    for key in "bcd":
        throttle.count(key)
    assert throttle.wait("a") == 0
    assert len(throttle._attempts) == 3
