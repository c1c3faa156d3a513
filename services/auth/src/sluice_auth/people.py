"""Who signs in, what they consented to, and what clients were given on their behalf."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from sluice_security.scopes import Scopes

# No client's id begins like this, so that a token's `sub` is never taken for the other (RFC 9068 section 5).
USER_PREFIX = "user-"
_LONGEST_NAME = 128


@dataclass(frozen=True, slots=True)
class User:
    """Someone who signs in.

    Parameters
    ----------
    id
        The `sub` of tokens: begins with `user-` and tells nothing about the person.
    name
        What is typed to sign in, as `fold_name` gives it.
    password_hash
        By `sluice_auth.passwords`.
    operator
        Whether applications may be given operators' scopes on this person's behalf.
    """

    id: str
    name: str
    password_hash: str
    created_at: float
    operator: bool = False


@dataclass(frozen=True, slots=True)
class Consent:
    """What a user lets a client do at a resource server. `given_at` is in Unix seconds."""

    user: str
    client: str
    resource: str
    scopes: Scopes
    given_at: float
    client_name: str = ""


@dataclass(frozen=True, slots=True)
class Authorization:
    """What one code stands for, and everything that comes of it.

    Parameters
    ----------
    scopes
        The most that its tokens may do; with `offline_access` if it may be refreshed.
    resource
        The one resource server its tokens are for.
    redirect_uri, challenge
        What the code is bound to, beside the client.
    code_expires, expires
        Until when the code, and anything that came of it, is good; Unix seconds.
    redeemed, revoked
        Whether someone has tried the code; whether nothing of this counts any more.
    """

    id: str
    client: str
    user: str
    scopes: Scopes
    resource: str
    redirect_uri: str
    challenge: str
    code_expires: float
    expires: float
    redeemed: bool = False
    revoked: bool = False


def fold_name(text: str) -> str | None:
    """Give a sign-in name the one way in which equal names are equal, or None if it can be nobody's."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).strip().casefold())
    if not 0 < len(folded.encode("utf-8", "surrogatepass")) <= _LONGEST_NAME:
        return None
    if any(unicodedata.category(char)[0] in "CZ" for char in folded):
        return None
    return folded
