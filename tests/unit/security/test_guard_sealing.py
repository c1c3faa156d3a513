"""Sealed secrets open only here, for their purpose, in their row."""

from __future__ import annotations

import base64

import pytest

from sluice_security.sealing import Seal, SealBrokenError, fingerprint, read_secret, read_secrets

SECRET = bytes(range(32))


def test_what_was_sealed_opens() -> None:
    seal = Seal(SECRET, "sources")
    sealed = seal.close(b"token", "s1")
    assert b"token" not in sealed
    assert seal.open(sealed, "s1") == b"token"
    assert seal.close(b"token", "s1") != sealed


def test_another_secret_purpose_or_row_does_not_open_it() -> None:
    sealed = Seal(SECRET, "sources").close(b"token", "s1")
    for seal, row in (
        (Seal(SECRET[::-1], "sources"), "s1"),
        (Seal(SECRET, "others"), "s1"),
        (Seal(SECRET, "sources"), "s2"),
    ):
        with pytest.raises(SealBrokenError):
            seal.open(sealed, row)


def test_no_changed_byte_goes_unnoticed() -> None:
    seal = Seal(SECRET, "sources")
    sealed = seal.close(b"token", "s1")
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(SealBrokenError):
            seal.open(changed, "s1")
    for short in (b"", sealed[:5], sealed[:-1]):
        with pytest.raises(SealBrokenError):
            seal.open(short, "s1")


@pytest.mark.parametrize(
    "text",
    [
        SECRET.hex(),
        base64.b64encode(SECRET).decode(),
        base64.urlsafe_b64encode(b"\xff" * 32).decode(),
        base64.b64encode(SECRET).decode().rstrip("=") + "\n",
    ],
)
def test_a_secret_is_read_from_hex_or_base64(text: str) -> None:
    assert read_secret(text) in (SECRET, b"\xff" * 32)


@pytest.mark.parametrize("text", ["", "abcd", "not a secret!", "zz" * 20, SECRET[:31].hex()])
def test_a_short_or_unreadable_secret_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        read_secret(text)


def test_the_newest_secret_seals_and_all_open_until_they_are_removed() -> None:
    old, new = SECRET, SECRET[::-1]
    before = Seal(old, "sources").close(b"token", "s1")
    both = Seal((new, old), "sources")
    assert both.open(before, "s1") == b"token"
    assert Seal(new, "sources").open(both.close(b"token", "s1"), "s1") == b"token"
    with pytest.raises(SealBrokenError):
        Seal(new, "sources").open(before, "s1")


def test_several_secrets_are_read_in_their_order() -> None:
    assert read_secrets(f"{SECRET[::-1].hex()}\n {SECRET.hex()}\n") == (SECRET[::-1], SECRET)
    for text in ("", " \n", f"{SECRET.hex()} abcd"):
        with pytest.raises(ValueError, match="secret"):
            read_secrets(text)


def test_a_fingerprint_tells_secrets_apart_and_is_none_of_their_bytes() -> None:
    assert fingerprint(SECRET) == fingerprint(SECRET) != fingerprint(SECRET[::-1])
    assert fingerprint(SECRET) not in SECRET.hex()
