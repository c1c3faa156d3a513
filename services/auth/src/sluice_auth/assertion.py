"""The client assertion of SMART Backend Services: a JWT signed with the client's registered key.

SMART App Launch 2.2, "Backend Services", section "Authentication using a private key"; RFC 7523 section 3;
RFC 7521 section 4.2. Everything here is decided without I/O; that an assertion is used once is the store's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from sluice_contracts.wire import UNREADABLE
from sluice_security import jose

AssertionType = Literal["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
ASSERTION_TYPE: AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = {"RS384": "RSA", "ES384": "EC"}
RULES = jose.Rules(
    algorithms=ALGORITHMS,
    # A client SHALL say `typ` JWT; clients in the field leave it out, which RFC 7519 section 5.1 permits.
    # What is meant for anything else is no assertion (RFC 8725 section 3.11).
    types=frozenset({"", "jwt"}),
    headers=frozenset({"alg", "kid", "typ", "jku"}),
)
# "No more than five minutes in the future."
LONGEST = 300.0
# Two machines' clocks.
LEEWAY = 10.0
_LONGEST_JTI = 1_024
_NO_KEY = "not exactly one registered key matches; new keys are sent to the client's registration_client_uri"


class _Claims(Struct):
    iss: str
    sub: str
    aud: str | list[str]
    exp: int | float
    jti: str
    iat: int | float | UnsetType = UNSET
    nbf: int | float | UnsetType = UNSET


class _Issuer(Struct):
    iss: str = ""
    sub: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """A sound assertion: it counts if `jti` was not used before; by `forget_at` it has expired."""

    client: str
    jti: str
    forget_at: float


def claimed(assertion: str) -> tuple[str, str]:
    """Give the client id and key id that an assertion claims, to look the key up. Nothing is verified yet.

    Raises
    ------
    RejectedError
        It is not a JWT of the permitted form, or names no client.
    """
    unverified = jose.read(assertion, RULES)
    try:
        claims = msgspec.json.decode(unverified.signature.payload, type=_Issuer)
    except UNREADABLE:
        raise jose.RejectedError("bad_claims", "a claim is missing or of another type") from None
    if not claims.iss or claims.iss != claims.sub:
        raise jose.RejectedError("wrong_issuer", "iss and sub must both be the client id")
    return claims.iss, unverified.kid


def select_key(keys: Sequence[dict[str, Any]], kid: str, key_type: str) -> jose.Key:
    """Give the one registered key of that `kid` and `kty`.

    Raises
    ------
    RejectedError
        There is none, or more than one.
    """
    matching = [key for key in keys if key.get("kid") == kid and key.get("kty") == key_type]
    if len(matching) != 1:
        raise jose.RejectedError("unknown_key", _NO_KEY)
    key = jose.import_public(matching[0])
    if key is None:
        raise jose.RejectedError("unknown_key", _NO_KEY)
    return key


def verify(
    assertion: str,
    keys: Sequence[dict[str, Any]],
    *,
    client: str,
    token_url: str,
    now: float,
    keys_url: str | None = None,
) -> Proof:
    """Hold an assertion against every rule but the one that it is used once.

    `keys` are the JWKs registered for `client`, `keys_url` the address they were registered by, if they
    were. `now` is in Unix seconds.

    Raises
    ------
    RejectedError
        A rule is broken.
    """
    unverified = jose.read(assertion, RULES)
    if unverified.jku is not None and unverified.jku != keys_url:
        raise jose.RejectedError("wrong_jku", "jku is not the registered address")
    claims = unverified.claims(select_key(keys, unverified.kid, unverified.key_type), _Claims)
    if not claims.iss == claims.sub == client:
        raise jose.RejectedError("wrong_issuer", "iss and sub must both be the client id")
    # Another server named beside us could use the assertion here in the client's place.
    audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if audience != [token_url]:
        raise jose.RejectedError("wrong_audience", "aud must be the token URL alone")
    if not claims.exp > now - LEEWAY:
        raise jose.RejectedError("expired", "the assertion has expired")
    if not claims.exp <= now + LONGEST + LEEWAY:
        raise jose.RejectedError("too_long", "exp is more than five minutes ahead")
    for begin in (claims.iat, claims.nbf):
        if begin is not UNSET and not begin <= now + LEEWAY:
            raise jose.RejectedError("not_yet_valid", "the assertion is not valid yet")
    if not 0 < len(claims.jti) <= _LONGEST_JTI:
        raise jose.RejectedError("bad_claims", "jti is missing or too long")
    return Proof(client, claims.jti, float(claims.exp) + 2 * LEEWAY)
