"""Proving with a key who a client is (SMART App Launch 2.2, "Backend Services"; RFC 7523)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from sluice_client.errors import KeyFileError
from sluice_contracts.wire import UNREADABLE

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ALGORITHMS = {"EC": "ES384", "RSA": "RS384"}
# Servers refuse more than five minutes; a clock that is a little ahead must not break that.
_SECONDS = 240
_HINT = "Make one with: sluice keys new"


class ClientKey:
    """A client's private key; it is never shown and never sent.

    Parameters
    ----------
    jwk
        A private JWK: EC on P-384 (ES384) or RSA (RS384), with a `kid`.
    jku
        Where its public half is published, if the server knows it by that address.
    clock
        Gives the time in Unix seconds.

    Raises
    ------
    KeyFileError
        It is no such key.
    """

    def __init__(
        self, jwk: Mapping[str, Any], *, jku: str | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        # Only those who use a key wait for the cryptography to be loaded.
        from joserfc.errors import JoseError
        from joserfc.jwk import ECKey, RSAKey

        kind, kid = jwk.get("kty"), jwk.get("kid")
        if not isinstance(kind, str) or kind not in _ALGORITHMS or not isinstance(kid, str) or "d" not in jwk:
            raise KeyFileError("That is no private key with a kid for ES384 or RS384.", _HINT)
        try:
            self._key: ECKey | RSAKey = (ECKey if kind == "EC" else RSAKey).import_key(dict(jwk))
            _ = self._key.private_key
        except (JoseError, ValueError, TypeError, KeyError):
            raise KeyFileError("The private key is malformed.", _HINT) from None
        if kind == "EC" and jwk.get("crv") != "P-384":
            raise KeyFileError("The private key is not on the curve P-384, which ES384 needs.", _HINT)
        self.kid = kid
        self.algorithm = _ALGORITHMS[kind]
        self._jku = jku
        self._clock = clock

    def __repr__(self) -> str:
        return f"ClientKey({self.kid!r})"

    @classmethod
    def read(cls, path: Path, *, jku: str | None = None) -> ClientKey:
        """Read a key from a file that holds a private JWK, or a JWK Set with one of them.

        Raises
        ------
        KeyFileError
            It cannot be read, or holds no such key. The text never has what is in the file.
        """
        try:
            found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        except OSError as error:
            raise KeyFileError(f"{path} cannot be read: {error.strerror}.", _HINT) from None
        except UNREADABLE:
            raise KeyFileError(f"{path} holds no JWK.", _HINT) from None
        several = found.get("keys")
        if isinstance(several, list):
            private = [key for key in several if isinstance(key, dict) and "d" in key]
            if len(private) != 1:
                raise KeyFileError(f"{path} does not hold exactly one private key.", _HINT)
            found = private[0]
        return cls(found, jku=jku)

    def public(self) -> dict[str, Any]:
        """Give the JWK Set to register: the public half alone."""
        known = self._key.as_dict(private=False)
        known.pop("key_ops", None)  # what the private half may do is not what the public one may
        return {"keys": [{**known, "kid": self.kid, "use": "sig", "alg": self.algorithm}]}

    def assertion(self, client_id: str, token_url: str) -> str:
        """Make a client assertion for one request to `token_url`; servers accept each of them once."""
        from joserfc import jwt

        now = int(self._clock())
        header = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT"}
        if self._jku is not None:
            header["jku"] = self._jku
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": token_url,
            "iat": now,
            "exp": now + _SECONDS,
            "jti": uuid4().hex,
        }
        return jwt.encode(header, claims, self._key, algorithms=[self.algorithm])
