"""One access token: what it says, and every check before it is believed (RFC 9068)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from msgspec import UNSET, Struct, UnsetType

from sluice_security import jose
from sluice_security.scopes import InvalidScopeError, Scopes

RULES = jose.Rules(algorithms={"ES256": "EC"}, types=frozenset({"at+jwt", "application/at+jwt"}))
# Clocks of two machines differ a little; a token may look this many seconds too young, never too old.
_SKEW = 5.0


class InvalidToken(Exception):  # noqa: N818 - the OAuth error code of RFC 6750 section 3.1
    """The token must not be accepted: answer 401 with `error="invalid_token"`.

    `code` is one word for metrics and tests, `text` a sentence for the caller; neither repeats the token.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking.

    Parameters
    ----------
    client
        The OAuth client's id.
    subject
        Whom the token speaks for: a user, or the client itself.
    scopes
        What it may do; ask `"files/read" in principal.scopes`.
    expires, issued
        Unix seconds.
    jti
        The token's id, for audit records.
    """

    client: str
    subject: str
    scopes: Scopes
    expires: float
    jti: str
    issued: float = 0.0


class _AccessClaims(Struct):
    iss: str
    sub: str
    aud: str | list[str]
    exp: int | float
    iat: int | float
    jti: str
    client_id: str
    scope: str = ""
    nbf: int | float | UnsetType = UNSET


def check(
    token: str, keys: Mapping[str, jose.Key], *, issuer: str, audiences: Collection[str], now: float
) -> Principal:
    """Verify an access token by RFC 9068 section 4 and give its principal.

    `keys` are the issuer's by key id; `now` is in Unix seconds. The token must be for exactly one audience,
    and that one of `audiences`.

    Raises
    ------
    InvalidToken
        Any rule is broken. `code` is `unknown_key` if the issuer has, as far as is known, no such key.
    """
    try:
        unverified = jose.read(token, RULES)
        key = keys.get(unverified.kid)
        if key is None:
            raise InvalidToken("unknown_key", "The token was not issued by this server.")
        claims = unverified.claims(key, _AccessClaims)
        scopes = Scopes.parse(claims.scope)
    except jose.RejectedError as error:
        raise InvalidToken(error.code, f"The token was refused: {error.text}.") from None
    except InvalidScopeError:
        raise InvalidToken("bad_claims", "The token was refused: unknown scope.") from None
    audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if claims.iss != issuer:
        raise InvalidToken("wrong_issuer", "The token was not issued by this server's authority.")
    if len(audience) != 1 or audience[0] not in audiences:
        raise InvalidToken("wrong_audience", "The token is for another server.")
    if not claims.exp > now:
        raise InvalidToken("expired", "The token has expired.")
    begin = claims.iat if claims.nbf is UNSET else max(claims.iat, claims.nbf)
    if not begin <= now + _SKEW:
        raise InvalidToken("not_yet_valid", "The token is not valid yet.")
    return Principal(
        client=claims.client_id,
        subject=claims.sub,
        scopes=scopes,
        expires=float(claims.exp),
        jti=claims.jti,
        issued=float(claims.iat),
    )


def revocation_digest(kind: str, identifier: str) -> str:
    """Name a revoked thing (`kind`: `token` or `client`) without telling which it is."""
    return hashlib.sha256(f"{kind}:{identifier}".encode()).hexdigest()[:40]
