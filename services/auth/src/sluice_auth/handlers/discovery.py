"""What clients and resource servers find out by themselves: metadata and keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import urlsplit

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from sluice_auth.assertion import ALGORITHMS
from sluice_auth.handlers.forms import answer
from sluice_auth.handlers.routing import Route, served
from sluice_auth.keyring import Keyring
from sluice_auth.metadata import KeySet
from sluice_auth.model import AuthMethod, GrantType
from sluice_security.scopes import SUBMIT, Scopes

_HOUR = {"Cache-Control": "public, max-age=3600"}
# Shorter than a key is published before it signs.
_KEYS_FRESH = {"Cache-Control": "public, max-age=60"}
# Examples of what may be asked for; any resource type may stand in the place of the star.
# What a wider scope covers, under the names that clients know it by.
_COVERED = (SUBMIT, "system/*.rs", "system/*.cruds", "user/*.rs", "user/*.cruds")


class ServerMetadata(Struct, kw_only=True):
    """What the authorization server does (RFC 8414 section 2)."""

    issuer: str
    token_endpoint: str
    jwks_uri: str
    scopes_supported: list[str]
    authorization_endpoint: str
    response_types_supported: list[str]
    response_modes_supported: list[str]
    grant_types_supported: list[str]
    code_challenge_methods_supported: list[str]
    authorization_response_iss_parameter_supported: bool
    registration_endpoint: str | UnsetType = UNSET
    token_endpoint_auth_methods_supported: list[str]
    token_endpoint_auth_signing_alg_values_supported: list[str]
    revocation_endpoint: str
    revocation_endpoint_auth_methods_supported: list[str]
    revocation_endpoint_auth_signing_alg_values_supported: list[str]
    introspection_endpoint: str
    introspection_endpoint_auth_methods_supported: list[str]
    introspection_endpoint_auth_signing_alg_values_supported: list[str]


class SmartConfiguration(ServerMetadata, kw_only=True):
    """The same for SMART clients (SMART App Launch 2.2, "Conformance")."""

    management_endpoint: Annotated[
        str, Meta(description="Where users see and take back what they permitted.")
    ]
    capabilities: list[str]


def authorization_server(issuer: str, scopes: Scopes, *, registration: bool) -> dict[str, Any]:
    """Give the metadata of RFC 8414 section 2: only what is really on offer."""
    methods = list(AuthMethod)
    algorithms = sorted(ALGORITHMS, reverse=True)
    document: dict[str, Any] = {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/oauth/token",
        "jwks_uri": f"{issuer}/oauth/jwks",
        "scopes_supported": _supported(scopes),
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(GrantType),
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }
    if registration:
        document["registration_endpoint"] = f"{issuer}/oauth/register"
    for endpoint, path in (("token", None), ("revocation", "revoke"), ("introspection", "introspect")):
        if path is not None:
            document[f"{endpoint}_endpoint"] = f"{issuer}/oauth/{path}"
        document[f"{endpoint}_endpoint_auth_methods_supported"] = [
            method for method in methods if endpoint != "introspection" or method is not AuthMethod.NONE
        ]
        document[f"{endpoint}_endpoint_auth_signing_alg_values_supported"] = algorithms
    return document


def smart_configuration(issuer: str, scopes: Scopes, *, registration: bool) -> dict[str, Any]:
    """Give the document of SMART App Launch 2.2, "Conformance"."""
    return {
        **authorization_server(issuer, scopes, registration=registration),
        "management_endpoint": f"{issuer}/oauth/consents",
        "capabilities": [
            "launch-standalone",
            "client-public",
            "client-confidential-asymmetric",
            "client-confidential-symmetric",
            "permission-offline",
            "permission-user",
            "permission-v1",
            "permission-v2",
        ],
    }


def _supported(scopes: Scopes) -> list[str]:
    plain = [scope.canonical for scope in scopes]
    return [
        *plain,
        *(text for text in _COVERED if text in scopes and text not in plain),
    ]


class DiscoveryHandlers:
    """Publishes metadata and keys.

    Parameters
    ----------
    scopes
        What clients may register for.
    registration
        Whether clients may sign up.
    """

    def __init__(self, keyring: Keyring, issuer: str, scopes: Scopes, *, registration: bool) -> None:
        self._keyring = keyring
        self._issuer = issuer
        self._server = ServerMetadata(**authorization_server(issuer, scopes, registration=registration))
        self._smart = SmartConfiguration(**smart_configuration(issuer, scopes, registration=registration))

    def routes(self) -> list[web.RouteDef]:
        """Give the endpoints; an issuer with a path has its metadata below it (RFC 8414 section 3.1)."""
        path = urlsplit(self._issuer).path.rstrip("/")
        return [
            *served(self, ROUTES),
            *([] if not path else served(self, [replace(ROUTES[0], path=f"{ROUTES[0].path}{path}")])),
        ]

    async def server_metadata(self, _request: web.Request) -> web.Response:
        """Find out what the authorization server does, and where (RFC 8414)."""
        return answer(self._server, headers=_HOUR)

    async def smart_metadata(self, _request: web.Request) -> web.Response:
        """Find out the same as clients of SMART App Launch do."""
        return answer(self._smart, headers=_HOUR)

    async def jwks(self, _request: web.Request) -> web.Response:
        """Get the public keys that access tokens are verified with (RFC 7517)."""
        return answer(KeySet(self._keyring.published()), headers=_KEYS_FRESH)


class DocumentHandlers:
    """Publishes what this server's OpenAPI document says.

    Parameters
    ----------
    text
        The document.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def routes(self) -> list[web.RouteDef]:
        """Give the endpoint."""
        return served(self, DOCUMENT_ROUTES)

    async def openapi(self, _request: web.Request) -> web.Response:
        """Get this document."""
        headers = {"Cache-Control": "no-cache"}
        return web.Response(text=self._text, content_type="application/json", headers=headers)


TAG = "Discovery"
ROUTES = (
    Route(
        "GET",
        "/.well-known/oauth-authorization-server",
        DiscoveryHandlers.server_metadata,
        "Get the server's metadata",
        TAG,
        {200: ServerMetadata},
        head=True,
    ),
    Route(
        "GET",
        "/.well-known/smart-configuration",
        DiscoveryHandlers.smart_metadata,
        "Get the SMART configuration",
        TAG,
        {200: SmartConfiguration},
        head=True,
    ),
    Route("GET", "/oauth/jwks", DiscoveryHandlers.jwks, "Get the public keys", TAG, {200: KeySet}, head=True),
)
DOCUMENT_ROUTES = (
    Route(
        "GET", "/oauth/openapi.json", DocumentHandlers.openapi, "This document", TAG, {200: dict}, head=True
    ),
)
