"""`/oauth/token`, `/oauth/revoke`, `/oauth/introspect`, `/oauth/revoked`."""

from __future__ import annotations

from aiohttp import web

from sluice_auth.grants import TokenRequest, TokenService
from sluice_auth.handlers.forms import answer, credentials, read_form
from sluice_auth.revocation import RevocationService
from sluice_security.callers import Origins


class TokenHandlers:
    """Parses requests about tokens and shapes their answers."""

    def __init__(self, tokens: TokenService, revocations: RevocationService, origins: Origins) -> None:
        self._tokens = tokens
        self._revocations = revocations
        self._origin = origins.network

    def routes(self) -> list[web.RouteDef]:
        """Give the endpoints."""
        return [
            web.post("/oauth/token", self.token),
            web.post("/oauth/revoke", self.revoke),
            web.post("/oauth/introspect", self.introspect),
            web.get("/oauth/revoked", self.revoked),
        ]

    async def token(self, request: web.Request) -> web.Response:
        """Issue an access token (RFC 6749 section 5.1)."""
        form = await read_form(request)
        asked = TokenRequest(
            grant_type=form.require("grant_type"),
            scope=form.get("scope"),
            resources=form.resources,
            parameters=form.values(),
        )
        issued = await self._tokens.issue(asked, credentials(request, form), self._origin(request))
        told: dict[str, str | int] = {
            "access_token": issued.token,
            "token_type": "Bearer",
            "expires_in": issued.expires_in,
            "scope": str(issued.scopes),
        }
        if issued.refresh_token is not None:
            told["refresh_token"] = issued.refresh_token
        return answer(told)

    async def revoke(self, request: web.Request) -> web.Response:
        """Void a token (RFC 7009 section 2); `token_type_hint` changes nothing: both kinds are tried."""
        form = await read_form(request)
        await self._revocations.revoke(
            form.require("token"), credentials(request, form), self._origin(request)
        )
        return answer({})

    async def introspect(self, request: web.Request) -> web.Response:
        """Tell what a token is (RFC 7662 section 2)."""
        form = await read_form(request)
        return answer(
            await self._revocations.introspect(
                form.require("token"), credentials(request, form), self._origin(request)
            )
        )

    async def revoked(self, _request: web.Request) -> web.Response:
        """Give what resource servers must refuse early; as digests, which tell a stranger nothing."""
        return answer({"revoked": await self._revocations.revoked()})
