"""Who is asking: the token of a request, and what it permits.

The token comes as `Authorization: Bearer` (RFC 6750 section 2.1) or, from clients of the Seven Bridges
family, as `X-SBG-Auth-Token`. Both may be there if they say the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from sluice_gateway.problems import Problem, unavailable
from sluice_security.tokens import AuthorityUnavailable, InvalidToken, Principal

REALM = "sluice"
# RFC 6750 section 2.1: b64token.
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_LONGEST = 8192


class Verifier(Protocol):
    """Judges access tokens."""

    async def verify(self, token: str) -> Principal:
        """Give the token's principal.

        Raises
        ------
        InvalidToken, AuthorityUnavailable
        """


def challenge(error: str = "", text: str = "", scope: str = "") -> dict[str, str]:
    """Give the header that says what is wrong with a token (RFC 6750 section 3)."""
    fields = [f'realm="{REALM}"']
    if error:
        fields += [f'error="{error}"', f'error_description="{text}"']
    if scope:
        fields.append(f'scope="{scope}"')
    return {"WWW-Authenticate": "Bearer " + ", ".join(fields)}


def _refused(text: str) -> Problem:
    return Problem(
        401, "invalid_token", text, "Get a new access token.", challenge("invalid_token", text.rstrip("."))
    )


def token_of(authorization: Sequence[str], family: Sequence[str]) -> str:
    """Give the request's token, from all its `Authorization` and all its `X-SBG-Auth-Token` fields.

    Raises
    ------
    Problem
        401: there is none. 400: there are several that differ.
    """
    tokens: set[str] = {value.strip() for value in family}
    for value in authorization:
        scheme, _, credentials = value.strip().partition(" ")
        if scheme.lower() != "bearer":
            text = "Only Bearer tokens are accepted."
            raise Problem(401, "unauthenticated", text, "Send Authorization: Bearer.", challenge())
        tokens.add(credentials.strip())
    if not tokens:
        raise Problem(
            401,
            "unauthenticated",
            "An access token is required.",
            "Send Authorization: Bearer.",
            challenge(),
        )
    if len(tokens) > 1:
        text = "Authorization and X-SBG-Auth-Token carry different tokens"
        raise Problem(
            400, "ambiguous_token", text + ".", "Send one of them.", challenge("invalid_request", text)
        )
    token = tokens.pop()
    if len(token) > _LONGEST or not _TOKEN.fullmatch(token):
        raise _refused("The token is malformed.")
    return token


async def authenticate(verifier: Verifier, authorization: Sequence[str], family: Sequence[str]) -> Principal:
    """Give the principal of a request.

    Raises
    ------
    Problem
        401 or 400 as RFC 6750 section 3.1 says; 503 if tokens cannot be judged now.
    """
    token = token_of(authorization, family)
    try:
        return await verifier.verify(token)
    except InvalidToken as error:
        raise _refused(error.text) from None
    except AuthorityUnavailable:
        raise unavailable("the authorization server") from None


def permit(principal: Principal, scope: str) -> None:
    """Refuse a principal whose token lacks `scope`.

    Raises
    ------
    Problem
        403, naming the scope.
    """
    if scope not in principal.scopes:
        raise Problem(
            403,
            "insufficient_scope",
            f"The token lacks the scope {scope}.",
            "Ask for a token with this scope.",
            challenge("insufficient_scope", f"The token lacks the scope {scope}", scope),
        )
