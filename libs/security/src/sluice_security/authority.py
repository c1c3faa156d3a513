"""The authorization server as a resource server reaches it: its published keys and revocations, over HTTP."""

from __future__ import annotations

from typing import Any

import aiohttp
import msgspec
from msgspec import Struct

_MAX_BODY = 4 * 1024 * 1024


class _KeySet(Struct):
    keys: list[dict[str, Any]]


class _Revoked(Struct):
    revoked: dict[str, float]


class HttpAuthority:
    """Reads `/oauth/jwks` and `/oauth/revoked` of the authorization server at `url`.

    `url` may be an inside address; it need not be the issuer's.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=5.0, connect=2.0)

    async def keys(self) -> list[dict[str, Any]]:
        """Give the public JWKs.

        Raises
        ------
        aiohttp.ClientError or TimeoutError or msgspec.DecodeError
            The server cannot be asked, or answered something else.
        """
        return msgspec.json.decode(await self._get("/oauth/jwks"), type=_KeySet).keys

    async def revoked(self) -> dict[str, float]:
        """Give what is revoked, by digest. Raises as `keys` does."""
        return msgspec.json.decode(await self._get("/oauth/revoked"), type=_Revoked).revoked

    async def smart_configuration(self) -> dict[str, Any]:
        """Give the SMART configuration (SMART App Launch 2.2, "Conformance"). Raises as `keys` does."""
        return msgspec.json.decode(await self._get("/.well-known/smart-configuration"), type=dict[str, Any])

    async def _get(self, path: str) -> bytes:
        async with self._session.get(
            self._url + path, timeout=self._timeout, allow_redirects=False, raise_for_status=True
        ) as answer:
            if answer.status != 200:
                raise aiohttp.ClientPayloadError("the authorization server answered something else")
            body = await answer.content.read(_MAX_BODY + 1)
            while not answer.content.at_eof() and len(body) <= _MAX_BODY:
                body += await answer.content.read(_MAX_BODY + 1 - len(body))
            if len(body) > _MAX_BODY:
                raise aiohttp.ClientPayloadError("the authorization server's answer is too large")
            return body
