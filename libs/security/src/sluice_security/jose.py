"""Signed JSON Web Tokens, read with suspicion: every check that comes before a claim is believed.

joserfc does the cryptography. What is added here is what a server must decide for itself (RFC 8725): which
algorithms, which header parameters, which type, which one key, and how large a token may be.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, RSAKey
from joserfc.jws import JWSRegistry

from sluice_contracts.wire import UNREADABLE

Key = ECKey | RSAKey
Claims = TypeVar("Claims")

MAX_TOKEN = 8_192
# Members of a JWK that only its owner may know (RFC 7518 section 6).
PRIVATE = frozenset({"d", "k", "p", "q", "dp", "dq", "qi", "oth"})


class RejectedError(Exception):
    """The token is not to be believed. `code` says why in one word; nothing of the token is repeated."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class _Registry(JWSRegistry):
    # An assertion may name its key set's address in `jku`, which does not fit joserfc's 512 bytes.
    max_header_length = 2_048


@dataclass(frozen=True, slots=True)
class Rules:
    """What a kind of token must look like before its signature is worth checking.

    Parameters
    ----------
    algorithms
        The signature algorithms that may be used, each with the key type (`kty`) it needs. Nothing else is
        accepted, so neither `none` nor a MAC keyed with a public key ever is (RFC 8725 sections 3.1, 3.2).
    types
        The acceptable `typ`, in lower case; an empty one is that of a token that has none.
    headers
        The header parameters that may appear. `crit`, `jwk`, `x5c`, `x5u` and `b64` are never among them:
        a key that comes with the token proves nothing, and an extension that is not understood must not be
        ignored (RFC 7515 section 4.1.11).
    """

    algorithms: dict[str, str]
    types: frozenset[str]
    headers: frozenset[str] = frozenset({"alg", "kid", "typ"})


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token whose form is sound and whose signature has not been checked yet."""

    algorithm: str
    key_type: str
    kid: str
    jku: str | None
    signature: jws.CompactSignature
    registry: JWSRegistry

    def claims(self, key: Key, kind: type[Claims]) -> Claims:
        """Check the signature with `key` and read the claims as `kind`, a msgspec Struct.

        Raises
        ------
        RejectedError
            The signature is not this key's, or a claim is missing or mistyped.
        """
        if key.key_type != self.key_type:
            raise RejectedError("wrong_key", "the key is of another type than the algorithm needs")
        try:
            sound = jws.validate_compact(self.signature, key, registry=self.registry)
        except (JoseError, ValueError):
            sound = False
        if not sound:
            raise RejectedError("bad_signature", "the signature does not verify")
        try:
            return msgspec.json.decode(self.signature.payload, type=kind)
        except UNREADABLE:
            raise RejectedError("bad_claims", "a claim is missing or of another type") from None


def read(token: str, rules: Rules) -> Unverified:
    """Take a compact JWS apart and hold it against `rules`, without believing it yet.

    Raises
    ------
    RejectedError
        It is too large, not a JWS, or its header breaks a rule.
    """
    if len(token) > MAX_TOKEN:
        raise RejectedError("oversized", "the token is too large")
    registry = _Registry(algorithms=list(rules.algorithms))
    try:
        signature = jws.extract_compact(token.encode("ascii"), registry=registry)
        header: Any = signature.headers()
    except (JoseError, ValueError, TypeError, AttributeError, binascii.Error, RecursionError):
        raise RejectedError("malformed", "not a signed token") from None
    if not isinstance(header, dict) or not header.keys() <= rules.headers:
        raise RejectedError("bad_header", "a header parameter is not accepted")
    algorithm, kid, jku = (header.get(name) for name in ("alg", "kid", "jku"))
    kind = header.get("typ", "")
    key_type = rules.algorithms.get(algorithm) if isinstance(algorithm, str) else None
    if not isinstance(algorithm, str) or key_type is None:
        raise RejectedError("bad_algorithm", "the signature algorithm is not accepted")
    if not isinstance(kid, str) or not kid:
        raise RejectedError("no_kid", "the token does not name its key")
    if jku is not None and not isinstance(jku, str):
        raise RejectedError("bad_header", "a header parameter is not accepted")
    if not isinstance(kind, str) or kind.lower() not in rules.types:
        raise RejectedError("wrong_type", "not a token of this kind")
    return Unverified(algorithm, key_type, kid, jku, signature, registry)


def import_public(data: dict[str, Any]) -> Key | None:
    """Give the public key in a JWK, or None for a key type that is not used here (RFC 7517 section 5).

    Raises
    ------
    RejectedError
        It is broken, or holds private or secret parameters.
    """
    kind = data.get("kty")
    if kind == OctKey.key_type or not PRIVATE.isdisjoint(data):
        raise RejectedError("private_key", "a key set must hold public keys only")
    if kind not in ("EC", "RSA"):
        return None
    try:
        key: Key = ECKey.import_key(data) if kind == "EC" else RSAKey.import_key(data)
        _ = key.public_key  # the numbers are only looked at when the key is used
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, binascii.Error):
        raise RejectedError("bad_key", "a key is malformed") from None
    return key
