"""The key that submitted files are encrypted with, and how it comes to the service."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sluice_client.errors import KeyFileError, SluiceError
from sluice_contracts.wire import UNREADABLE

_KEY_BYTES = frozenset({16, 32, 64})
_DOTS = 4
_DELIVERED_BY = frozenset({"ECDH-ES+A256KW", "ECDH-ES+A128KW", "ECDH-ES"})
_KINDS = "16, 32 or 64 bytes, an oct JWK, or a JWE that delivers one"
_HINT = "Make one with: openssl rand -out content.key 32"


class ContentKey:
    """What a manifest and its files are encrypted with; it is never shown.

    Parameters
    ----------
    key
        16, 32 or 64 bytes; or a JWE in its compact form, by which such a key is delivered to the service.

    Raises
    ------
    KeyFileError
        It is neither.
    """

    def __init__(self, key: bytes | str) -> None:
        sound = len(key) in _KEY_BYTES if isinstance(key, bytes) else key.count(".") == _DOTS
        if not sound:
            raise KeyFileError(f"That is no key for contents: {_KINDS}.", _HINT)
        self._key = key

    def __repr__(self) -> str:
        return "ContentKey(…)"

    @classmethod
    def read(cls, path: Path) -> ContentKey:
        """Read a key from a file that holds its bytes and nothing else, an `oct` JWK, or a JWE.

        Raises
        ------
        KeyFileError
            It cannot be read, or holds no such key. The text never has what is in the file.
        """
        try:
            held = path.read_bytes()
        except OSError as error:
            raise KeyFileError(f"{path} cannot be read: {error.strerror}.", _HINT) from None
        try:
            return cls(_key_in(held))
        except KeyFileError:
            raise KeyFileError(f"{path} holds no key for contents: {_KINDS}.", _HINT) from None

    def delivered(self, published: Sequence[Mapping[str, Any]]) -> str:
        """Give the JWE that delivers it, encrypted for one of the keys that the service publishes.

        Raises
        ------
        SluiceError
            It can be encrypted for none of them.
        """
        if isinstance(self._key, str):
            return self._key
        # Only those who encrypt wait for the cryptography to be loaded.
        from joserfc import jwe
        from joserfc.errors import JoseError
        from joserfc.jwk import ECKey

        for each in published:
            if each.get("alg") not in _DELIVERED_BY:
                continue
            header = {name: each[name] for name in ("alg", "kid") if name in each} | {"enc": "A256GCM"}
            try:
                return jwe.encrypt_compact(header, self._key, ECKey.import_key(dict(each)))
            except (JoseError, ValueError, TypeError, KeyError):
                break
        raise SluiceError("The service publishes no key to encrypt yours for.", "Ask the operators.")


def _key_in(held: bytes) -> bytes | str:
    if len(held) in _KEY_BYTES:
        return held
    text = held.strip()
    if text.startswith(b"eyJ") and text.isascii():
        return text.decode()
    try:
        jwk = msgspec.json.decode(text, type=dict[str, Any])
        encoded = str(jwk["k"])
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except (*UNREADABLE, KeyError, ValueError):
        return held
