"""How Sluice proves to a source who it is.

These values hold secrets. They are stored sealed, and neither their representation nor what the operators'
API shows of them holds a secret.
"""

from __future__ import annotations

import secrets
from enum import StrEnum
from typing import Any

from joserfc import jwk
from joserfc.errors import JoseError
from msgspec import Struct

_RSA_BITS = 3072
_RSA_LEAST = 2048


class SecretStyle(StrEnum):
    """How a client secret travels (RFC 6749 section 2.3.1)."""

    BASIC = "basic"
    POST = "post"


class AssertionAlgorithm(StrEnum):
    """What SMART Backend Services allows to sign an assertion with."""

    RS384 = "RS384"
    ES384 = "ES384"


class _Auth(Struct, frozen=True, kw_only=True, tag_field="type"):
    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class NoAuth(_Auth, frozen=True, kw_only=True, tag="none"):
    """The source is open."""


class BearerAuth(_Auth, frozen=True, kw_only=True, tag="bearer"):
    """A fixed token that an operator was given."""

    token: str


class ClientCredentialsAuth(_Auth, frozen=True, kw_only=True, tag="client_credentials"):
    """OAuth 2.0 client credentials with a secret (RFC 6749 section 4.4)."""

    token_url: str
    client_id: str
    client_secret: str
    scope: str | None = None
    style: SecretStyle = SecretStyle.BASIC


class BackendServicesAuth(_Auth, frozen=True, kw_only=True, tag="backend_services"):
    """SMART Backend Services: an assertion signed with our own key (RFC 7523).

    `key` is a private JWK with its `kid`; without one, `with_key` makes it.
    """

    token_url: str
    client_id: str
    scope: str | None = None
    algorithm: AssertionAlgorithm = AssertionAlgorithm.ES384
    key: dict[str, Any] | None = None


SourceAuth = NoAuth | BearerAuth | ClientCredentialsAuth | BackendServicesAuth


class UnreadableAuth(_Auth, frozen=True, kw_only=True, tag="unreadable"):
    """What is stored, and does not open under the secrets that are known here: nobody can register this.

    It is kept as it is until other credentials are given, or the secret of before is.
    """

    sealed: bytes


class InvalidKeyError(ValueError):
    """The key cannot sign assertions with this algorithm."""


def with_key(auth: BackendServicesAuth) -> BackendServicesAuth:
    """Give the same with a key that fits its algorithm: its own, checked, or a new one.

    Raises
    ------
    InvalidKeyError
        Its own key is not a private one of the algorithm's kind.
    """
    rsa = auth.algorithm is AssertionAlgorithm.RS384
    if auth.key is None:
        made: jwk.RSAKey | jwk.ECKey = (
            jwk.RSAKey.generate_key(_RSA_BITS) if rsa else jwk.ECKey.generate_key("P-384")
        )
        key = {**made.as_dict(private=True), "kid": secrets.token_hex(8)}
    else:
        key = {**auth.key, "kid": str(auth.key.get("kid") or secrets.token_hex(8))}
        _check_key(key, rsa=rsa)
    return BackendServicesAuth(
        token_url=auth.token_url,
        client_id=auth.client_id,
        scope=auth.scope,
        algorithm=auth.algorithm,
        key=key,
    )


def _check_key(key: dict[str, Any], *, rsa: bool) -> None:
    try:
        given = jwk.RSAKey.import_key(key) if rsa else jwk.ECKey.import_key(key)
    except (JoseError, ValueError, KeyError, TypeError):
        raise InvalidKeyError("not a key of the algorithm's kind") from None
    if not given.is_private:
        raise InvalidKeyError("not a private key")
    if isinstance(given, jwk.RSAKey) and given.public_key.key_size < _RSA_LEAST:
        raise InvalidKeyError("an RSA key shorter than 2048 bits")
    if isinstance(given, jwk.ECKey) and key.get("crv") != "P-384":
        raise InvalidKeyError("ES384 takes a key on P-384")


def public_jwk(auth: BackendServicesAuth) -> dict[str, Any] | None:
    """Give the public half of its key, for the JWKS that the source reads; None without a key."""
    if auth.key is None:
        return None
    key = jwk.import_key(auth.key)
    return {**key.as_dict(private=False), "kid": auth.key["kid"], "alg": auth.algorithm.value, "use": "sig"}


def shown(auth: SourceAuth | UnreadableAuth) -> dict[str, Any]:
    """Give what may be shown of it: the kind, names and addresses, never a secret."""
    match auth:
        case NoAuth():
            return {"type": "none"}
        case UnreadableAuth():
            return {"type": "unreadable"}
        case BearerAuth():
            return {"type": "bearer"}
        case ClientCredentialsAuth():
            return {
                "type": "client_credentials",
                "token_url": auth.token_url,
                "client_id": auth.client_id,
                "scope": auth.scope,
                "style": auth.style.value,
            }
        case BackendServicesAuth():
            return {
                "type": "backend_services",
                "token_url": auth.token_url,
                "client_id": auth.client_id,
                "scope": auth.scope,
                "algorithm": auth.algorithm.value,
                "key": public_jwk(auth),
            }
