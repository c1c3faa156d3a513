"""`/oauth/token`, `/oauth/revoke`, `/oauth/introspect`, `/oauth/revoked`."""

from __future__ import annotations

from aiohttp import web
from msgspec import UNSET

from sluice_auth.grants import TokenRequest, TokenService
from sluice_auth.handlers.forms import answer, credentials, read_form
from sluice_auth.handlers.routing import Proof, Route, served
from sluice_auth.handlers.token_messages import (
    AnyTokenForm,
    Revocations,
    Token,
    TokenStateForm,
)
from sluice_auth.revocation import Introspection, RevocationService
from sluice_security.callers import Origins


class TokenHandlers:
    """Parses requests about tokens and shapes their answers."""

    def __init__(self, tokens: TokenService, revocations: RevocationService, origins: Origins) -> None:
        self._tokens = tokens
        self._revocations = revocations
        self._origin = origins.network

    def routes(self) -> list[web.RouteDef]:
        """Give the endpoints."""
        return served(self, ROUTES)

    async def token(self, request: web.Request) -> web.Response:
        """Get an access token (RFC 6749), for a client itself or for a user who let it speak for them.

        The client says who it is by Basic (`client_secret_basic`), or in the form: by its secret
        (`client_secret_post`), by an assertion (`private_key_jwt`), or, if it has neither, by its id alone.
        """
        form = await read_form(request)
        asked = TokenRequest(
            grant_type=form.require("grant_type"),
            scope=form.get("scope"),
            resources=form.resources,
            parameters=form.values(),
        )
        issued = await self._tokens.issue(asked, credentials(request, form), self._origin(request))
        told = Token(
            access_token=issued.token,
            expires_in=issued.expires_in,
            scope=str(issued.scopes),
            refresh_token=UNSET if issued.refresh_token is None else issued.refresh_token,
        )
        return answer(told)

    async def revoke(self, request: web.Request) -> web.Response:
        """Void a token (RFC 7009). A refresh token takes with it all that came of the same consent.

        One that is unknown or expired is void already, so that is no error.
        """
        form = await read_form(request)
        await self._revocations.revoke(
            form.require("token"), credentials(request, form), self._origin(request)
        )
        return answer({})

    async def introspect(self, request: web.Request) -> web.Response:
        """Ask what an access token is (RFC 7662). A client learns of its own tokens only."""
        form = await read_form(request)
        return answer(
            await self._revocations.introspect(
                form.require("token"), credentials(request, form), self._origin(request)
            )
        )

    async def revoked(self, _request: web.Request) -> web.Response:
        """Get what resource servers must refuse early; as digests, which tell a stranger nothing."""
        return answer(Revocations(await self._revocations.revoked()))


TAG = "Tokens"
ROUTES = (
    Route(
        "POST",
        "/oauth/token",
        TokenHandlers.token,
        "Get an access token",
        TAG,
        {200: Token},
        form=AnyTokenForm,
        proof=Proof.CLIENT,
        examples={
            "for itself": {"grant_type": "client_credentials", "scope": "bulk/import files/read"},
            "by a code": {
                "grant_type": "authorization_code",
                "code": "7Yh-2d",
                "redirect_uri": "https://portal.example.org/callback",
                "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            },
            "again": {"grant_type": "refresh_token", "refresh_token": "8xLOxBtZp8"},
        },
    ),
    Route(
        "POST",
        "/oauth/revoke",
        TokenHandlers.revoke,
        "Revoke a token",
        TAG,
        {200: dict},
        form=TokenStateForm,
        proof=Proof.CLIENT,
    ),
    Route(
        "POST",
        "/oauth/introspect",
        TokenHandlers.introspect,
        "Ask what a token is",
        TAG,
        {200: Introspection},
        form=TokenStateForm,
        proof=Proof.CLIENT,
    ),
    Route(
        "GET",
        "/oauth/revoked",
        TokenHandlers.revoked,
        "Get what is revoked",
        TAG,
        {200: Revocations},
        head=True,
    ),
)
