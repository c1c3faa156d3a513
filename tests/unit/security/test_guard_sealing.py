"""Sealed secrets open only here, for their purpose, in their row."""

from __future__ import annotations

import base64

import pytest

from sluice_security.sealing import Seal, SealBrokenError, read_secret

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
