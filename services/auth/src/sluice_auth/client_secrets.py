"""Client secrets and registration tokens: 256 random bits, kept as a hash.

A password needs a slow hash because it can be guessed. These are drawn from 2^256 values, so a plain SHA-256
gives nothing away and costs a microsecond at every token request (`docs/adr/0010`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from hmac import compare_digest
from secrets import token_urlsafe

Draw = Callable[[], str]
"""Gives a new secret."""

# Whoever brings a secret of their own brings one that is as long as 128 random bits written in hex.
SHORTEST = 32
# Never the way users' ids begin (`sluice_auth.people.USER_PREFIX`).
_CLIENT_ID = re.compile(r"(?!user-)[A-Za-z0-9][A-Za-z0-9._~-]{0,63}")
_NOTHING = b"\0" * 32


def draw() -> str:
    """Draw a secret of 256 bits."""
    return token_urlsafe(32)


def digest(secret: str) -> bytes:
    """Give what is stored of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def matches(secret: str, stored: bytes | None) -> bool:
    """Tell whether `stored` is of this secret, in a time that depends on neither."""
    same = compare_digest(digest(secret), stored if stored is not None else _NOTHING)
    return same and stored is not None


def usable_id(text: str) -> bool:
    """Tell whether an operator's chosen client id is safe in a URL and in a header."""
    return _CLIENT_ID.fullmatch(text) is not None
