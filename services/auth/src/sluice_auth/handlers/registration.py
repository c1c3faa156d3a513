"""`/oauth/register` (RFC 7591) and the client's own page under it (RFC 7592)."""

from __future__ import annotations

from aiohttp import web

from sluice_auth.errors import invalid_metadata, invalid_registration_token
from sluice_auth.handlers.forms import answer, bearer
from sluice_auth.handlers.routing import Proof, Route, served
from sluice_auth.metadata import Metadata, parse
from sluice_auth.registration import ClientInformation, RegistrationService, response
from sluice_security.callers import Origins


class RegistrationHandlers:
    """Parses registrations and shapes their answers."""

    def __init__(self, service: RegistrationService, origins: Origins, issuer: str) -> None:
        self._service = service
        self._origin = origins.network
        self._issuer = issuer

    def routes(self) -> list[web.RouteDef]:
        """Give the endpoints."""
        return served(self, ROUTES)

    async def register(self, request: web.Request) -> web.Response:
        """Sign a client up (RFC 7591); its secret is shown in this answer and never again.

        So is the registration access token, which the client is read, changed and removed with.
        """
        registered = await self._service.register(
            await _metadata(request), bearer(request), self._origin(request)
        )
        return answer(response(registered, self._issuer), 201)

    async def read_client(self, request: web.Request) -> web.Response:
        """Read what a client is registered as (RFC 7592)."""
        registered = await self._service.read(*_whose(request), self._origin(request))
        return answer(response(registered, self._issuer))

    async def update_client(self, request: web.Request) -> web.Response:
        """Replace what a client said about itself (RFC 7592), all of it; the body names its `client_id`."""
        whose = _whose(request)
        registered = await self._service.update(*whose, await _metadata(request), self._origin(request))
        return answer(response(registered, self._issuer))

    async def rotate_secret(self, request: web.Request) -> web.Response:
        """Give a new secret, shown in this answer and never again; the request has no body."""
        registered = await self._service.rotate_secret(*_whose(request), self._origin(request))
        return answer(response(registered, self._issuer))

    async def remove_client(self, request: web.Request) -> web.Response:
        """Remove a client (RFC 7592); its tokens are void from then on."""
        await self._service.remove(*_whose(request), self._origin(request))
        return web.Response(status=204, headers={"Cache-Control": "no-store"})


TAG = "Clients"
_CLIENT = "/oauth/register/{client_id}"
_SAID = {"client_name": "Portal", "scope": "bulk/import files/read files/write"}
ROUTES = (
    Route(
        "POST",
        "/oauth/register",
        RegistrationHandlers.register,
        "Sign a client up",
        TAG,
        {201: ClientInformation},
        body=Metadata,
        proof=Proof.SIGN_UP,
        errors=(401, 403, 429),
        examples={
            "with a secret": _SAID,
            "with a key": {
                "token_endpoint_auth_method": "private_key_jwt",
                "jwks_uri": "https://portal.example.org/jwks.json",
                "scope": "system/Patient.rs",
            },
            "for users": {
                "client_name": "Portal",
                "redirect_uris": ["https://portal.example.org/callback"],
                "grant_types": ["authorization_code", "refresh_token"],
                "scope": "user/*.rs offline_access",
            },
        },
    ),
    Route(
        "GET",
        _CLIENT,
        RegistrationHandlers.read_client,
        "Read a client",
        TAG,
        {200: ClientInformation},
        proof=Proof.REGISTRATION,
    ),
    Route(
        "PUT",
        _CLIENT,
        RegistrationHandlers.update_client,
        "Change a client",
        TAG,
        {200: ClientInformation},
        body=Metadata,
        proof=Proof.REGISTRATION,
        examples={"another name": {"client_id": "3f0c", **_SAID}},
    ),
    Route(
        "POST",
        _CLIENT + "/secret",
        RegistrationHandlers.rotate_secret,
        "Get a new secret",
        TAG,
        {200: ClientInformation},
        proof=Proof.REGISTRATION,
    ),
    Route(
        "DELETE",
        _CLIENT,
        RegistrationHandlers.remove_client,
        "Remove a client",
        TAG,
        {204: None},
        proof=Proof.REGISTRATION,
    ),
)


def _whose(request: web.Request) -> tuple[str, str]:
    token = bearer(request)
    if token is None:
        raise invalid_registration_token()
    return request.match_info["client_id"], token


async def _metadata(request: web.Request) -> Metadata:
    if request.content_type != "application/json":
        raise invalid_metadata("The content type must be application/json.")
    return parse(await request.read())
