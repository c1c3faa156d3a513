"""`/oauth/register` (RFC 7591) and the client's own page under it (RFC 7592)."""

from __future__ import annotations

from aiohttp import web

from sluice_auth.errors import invalid_metadata, invalid_registration_token
from sluice_auth.handlers.forms import answer, bearer
from sluice_auth.metadata import Metadata, parse
from sluice_auth.registration import RegistrationService, response
from sluice_security.callers import Origins


class RegistrationHandlers:
    """Parses registrations and shapes their answers."""

    def __init__(self, service: RegistrationService, origins: Origins, issuer: str) -> None:
        self._service = service
        self._origin = origins.network
        self._issuer = issuer

    def routes(self) -> list[web.RouteDef]:
        """Give the endpoints."""
        return [
            web.post("/oauth/register", self.register),
            web.get("/oauth/register/{client_id}", self.read, allow_head=False),
            web.put("/oauth/register/{client_id}", self.update),
            web.post("/oauth/register/{client_id}/secret", self.rotate_secret),
            web.delete("/oauth/register/{client_id}", self.remove),
        ]

    async def register(self, request: web.Request) -> web.Response:
        """Sign a client up; its secret is shown in this answer and never again."""
        registered = await self._service.register(
            await _metadata(request), bearer(request), self._origin(request)
        )
        return answer(response(registered, self._issuer), 201)

    async def read(self, request: web.Request) -> web.Response:
        """Show a client to itself."""
        registered = await self._service.read(*_whose(request), self._origin(request))
        return answer(response(registered, self._issuer))

    async def update(self, request: web.Request) -> web.Response:
        """Replace what a client said about itself."""
        whose = _whose(request)
        registered = await self._service.update(*whose, await _metadata(request), self._origin(request))
        return answer(response(registered, self._issuer))

    async def rotate_secret(self, request: web.Request) -> web.Response:
        """Give a new secret, shown in this answer and never again; the request has no body."""
        registered = await self._service.rotate_secret(*_whose(request), self._origin(request))
        return answer(response(registered, self._issuer))

    async def remove(self, request: web.Request) -> web.Response:
        """Remove a client."""
        await self._service.remove(*_whose(request), self._origin(request))
        return web.Response(status=204, headers={"Cache-Control": "no-store"})


def _whose(request: web.Request) -> tuple[str, str]:
    token = bearer(request)
    if token is None:
        raise invalid_registration_token()
    return request.match_info["client_id"], token


async def _metadata(request: web.Request) -> Metadata:
    if request.content_type != "application/json":
        raise invalid_metadata("The content type must be application/json.")
    return parse(await request.read())
