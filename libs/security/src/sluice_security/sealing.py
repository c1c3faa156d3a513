"""Secrets at rest: sealed with AES-256-GCM under keys derived from the deployment's one secret."""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sluice_contracts.ids import Keys, each_of

_NONCE = 12
_VERSION = b"\x01"
_LEAST = 32


class SealBrokenError(ValueError):
    """The sealed bytes were not sealed here under this secret, purpose and name."""


def read_secret(text: str) -> bytes:
    """Give the bytes of a secret written in hex or base64 (the setting SLUICE_SECRET).

    Raises
    ------
    ValueError
        It is neither, or shorter than 32 bytes.
    """
    text = text.strip()
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        try:
            padded = text + "=" * (-len(text) % 4)
            secret = base64.b64decode(
                padded, altchars=b"-_" if "-" in text or "_" in text else None, validate=True
            )
        except binascii.Error:
            raise ValueError("the secret is neither hex nor base64") from None
    if len(secret) < _LEAST:
        raise ValueError("the secret is shorter than 32 bytes")
    return secret


def read_secrets(text: str) -> tuple[bytes, ...]:
    """Give the bytes of one or several secrets, separated by white space: the newest first.

    Raises
    ------
    ValueError
        There is none, or one is none that `read_secret` takes.
    """
    secrets = tuple([read_secret(word) for word in text.split()])
    if not secrets:
        raise ValueError("there is no secret")
    return secrets


def fingerprint(secret: bytes) -> str:
    """Give a name of a secret that says nothing about it, to know it again by."""
    return _derived(secret, b"sluice fingerprint", 8).hex()


class Seal:
    """Seals small secrets for one purpose.

    Parameters
    ----------
    secrets
        The deployment's secret, at least 32 bytes; or several, of which the first seals and all open.
    purpose
        What the derived key is for; seals of different purposes do not open each other.
    """

    def __init__(self, secrets: Keys, purpose: str) -> None:
        info = b"sluice " + purpose.encode()
        self._ciphers = [AESGCM(_derived(secret, info)) for secret in each_of(secrets)]

    def close(self, plain: bytes, name: str) -> bytes:
        """Seal `plain` for the row `name`, to which it stays bound."""
        nonce = token_bytes(_NONCE)
        return _VERSION + nonce + self._ciphers[0].encrypt(nonce, plain, name.encode())

    def open(self, sealed: bytes, name: str) -> bytes:
        """Give back what was sealed for the row `name`.

        Raises
        ------
        SealBrokenError
            It was altered, or sealed under another secret, purpose or name.
        """
        if sealed[:1] != _VERSION:
            raise SealBrokenError("not a seal of this version")
        nonce, closed = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        for cipher in self._ciphers:
            with suppress(InvalidTag, ValueError):
                return cipher.decrypt(nonce, closed, name.encode())
        raise SealBrokenError("the seal does not open")


def _derived(secret: bytes, info: bytes, length: int = 32) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret)
