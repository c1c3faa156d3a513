"""What clients and resource servers find out by themselves: metadata and keys."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from sluice_auth.assertion import ALGORITHMS
from sluice_auth.handlers.forms import answer
from sluice_auth.keyring import Keyring
from sluice_auth.model import AuthMethod, GrantType
from sluice_security.scopes import SUBMIT, Scopes

_HOUR = {"Cache-Control": "public, max-age=3600"}
# Shorter than a key is published before it signs.
_KEYS_FRESH = {"Cache-Control": "public, max-age=60"}
# Examples of what may be asked for; any resource type may stand in the place of the star.
# What a wider scope covers, under the names that clients know it by.
_COVERED = (SUBMIT, "system/*.rs", "system/*.cruds", "user/*.rs", "user/*.cruds")


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
        self._server = authorization_server(issuer, scopes, registration=registration)
        self._smart = smart_configuration(issuer, scopes, registration=registration)

    def routes(self) -> list[web.RouteDef]:
        """Give the endpoints; an issuer with a path has its metadata below it (RFC 8414 section 3.1)."""
        path = urlsplit(self._issuer).path.rstrip("/")
        places = {"", path}
        return [
            *(web.get(f"/.well-known/oauth-authorization-server{place}", self.server) for place in places),
            web.get("/.well-known/smart-configuration", self.smart),
            web.get("/oauth/jwks", self.jwks),
        ]

    async def server(self, _request: web.Request) -> web.Response:
        """Give the authorization server's metadata."""
        return answer(self._server, headers=_HOUR)

    async def smart(self, _request: web.Request) -> web.Response:
        """Give the SMART configuration."""
        return answer(self._smart, headers=_HOUR)

    async def jwks(self, _request: web.Request) -> web.Response:
        """Give the public keys."""
        return answer({"keys": self._keyring.published()}, headers=_KEYS_FRESH)
