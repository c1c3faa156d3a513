"""Protected bases: one takes a fixed bearer token, one tokens from its own client-credentials endpoint."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote_plus

from aiohttp import web

from sluice_stack.source.answers import outcome


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the protected bases ask for; new for each source unless given.

    `lifetime` is how long a token from the token endpoint lives, in seconds.
    """

    bearer: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    client_id: str = "sluice"
    client_secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    lifetime: float = 60.0


class TokenDesk:
    """Issues and checks tokens (RFC 6749 section 4.4)."""

    def __init__(self, credentials: Credentials, clock: Callable[[], float] = time.monotonic) -> None:
        self._credentials = credentials
        self._clock = clock
        self._issued: dict[str, float] = {}

    async def token(self, request: web.BaseRequest) -> web.Response:
        """Answer `POST /oauth/token`, by either way in which a client may send its secret."""
        form = parse_qs((await request.read()).decode("utf-8", "replace"))
        given = _basic(request.headers.get("Authorization", "")) or (
            form.get("client_id", [""])[0],
            form.get("client_secret", [""])[0],
        )
        wanted = self._credentials
        if form.get("grant_type") != ["client_credentials"]:
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        if not (_same(given[0], wanted.client_id) and _same(given[1], wanted.client_secret)):
            return web.json_response({"error": "invalid_client"}, status=401)
        token = secrets.token_urlsafe(24)
        self._issued[token] = self._clock() + wanted.lifetime
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": int(wanted.lifetime)}
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    def refuses_bearer(self, request: web.BaseRequest) -> web.Response | None:
        """Give the refusal for a request without the fixed token, None for one with it."""
        return None if _same(_bearer(request), self._credentials.bearer) else _refusal()

    def refuses_issued(self, request: web.BaseRequest) -> web.Response | None:
        """Give the refusal for a request without a token that was issued and still lives."""
        return None if self._issued.get(_bearer(request), 0.0) > self._clock() else _refusal()


def _refusal() -> web.Response:
    return outcome(401, "login", "a token is needed", www_authenticate="Bearer")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _bearer(request: web.BaseRequest) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _basic(header: str) -> tuple[str, str] | None:
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    # RFC 6749 section 2.3.1: both are form-encoded before they are joined.
    return unquote_plus(name), unquote_plus(secret)
