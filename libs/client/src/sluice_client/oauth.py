"""Signing up and getting tokens (RFC 7591, RFC 6749 section 4.4), found by discovery (RFC 8414, SMART).

A client proves who it is by a secret, or by a key (SMART App Launch 2.2, "Backend Services").
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote_plus

import aiohttp
import msgspec
from msgspec import Struct

from sluice_client.assertions import ASSERTION_TYPE, ClientKey
from sluice_client.errors import AuthenticationError, NotFoundError, SluiceError
from sluice_client.models import Credentials, Registration
from sluice_client.transport import Transport
from sluice_contracts.wire import UNREADABLE

T = TypeVar("T")

IMPORT_SCOPES = ("bulk/import", "files/read", "files/write")
"""What a portal needs to import."""
EXPORT_SCOPES = ("system/*.rs",)
"""What a client needs to export every type; which data it gets is the operators' to say."""

# A token is renewed this long before its end, or at half its life if that is shorter.
_MARGIN = 30.0


class _Metadata(Struct):
    token_endpoint: str
    registration_endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class KeyCredentials:
    """An OAuth client's id, and the private key that it proves itself with."""

    client_id: str
    key: ClientKey


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token that somebody has got elsewhere, for instance at the gateway's page; it is not renewed."""

    token: str


AnyCredentials = Credentials | KeyCredentials | AccessToken


class _Registered(Struct):
    client_id: str
    client_secret: str | None = None
    scope: str = ""
    registration_access_token: str | None = None
    registration_client_uri: str | None = None


class _Token(Struct):
    access_token: str
    expires_in: float = 60.0
    scope: str = ""


class Authority:
    """The authorization server.

    Parameters
    ----------
    transport
        How to reach it.
    url
        Its address (the issuer).
    """

    def __init__(self, transport: Transport, url: str) -> None:
        self._transport = transport
        self._url = url.rstrip("/")
        self._metadata: _Metadata | None = None

    async def sign_up(
        self, name: str, scopes: Sequence[str] = IMPORT_SCOPES, initial_token: str | None = None
    ) -> Credentials:
        """Sign a client up.

        `initial_token` is what operators hand out where sign-up is not open.

        Raises
        ------
        ApiError
            Sign-up is refused.
        """
        made = await self._register(
            {
                "client_name": name,
                "grant_types": ["client_credentials"],
                "token_endpoint_auth_method": "client_secret_basic",
                "scope": " ".join(scopes),
            },
            initial_token,
        )
        return Credentials(
            client_id=made.client_id,
            client_secret=made.client_secret or "",
            registration_token=made.registration_access_token,
            registration_uri=made.registration_client_uri,
        )

    async def register_key(
        self,
        name: str,
        *,
        jwks: Mapping[str, Any] | None = None,
        jwks_uri: str | None = None,
        scopes: Sequence[str] = EXPORT_SCOPES,
        initial_token: str | None = None,
    ) -> Registration:
        """Sign up a client that proves itself with a key: its public JWK Set, or the address of that.

        Raises
        ------
        ApiError
            Sign-up is refused.
        """
        wish: dict[str, Any] = {
            "client_name": name,
            "grant_types": ["client_credentials"],
            "token_endpoint_auth_method": "private_key_jwt",
            "scope": " ".join(scopes),
        }
        wish |= {"jwks": dict(jwks)} if jwks is not None else {"jwks_uri": jwks_uri}
        made = await self._register(wish, initial_token)
        return Registration(
            client_id=made.client_id,
            scope=made.scope,
            registration_token=made.registration_access_token,
            registration_uri=made.registration_client_uri,
        )

    async def remove(self, client: Credentials | Registration) -> None:
        """Remove a client that was signed up (RFC 7592); its tokens are void from then on.

        Raises
        ------
        ApiError
            It is not there, or not this registration token's.
        SluiceError
            Nothing to remove it with was kept.
        """
        if client.registration_uri is None or client.registration_token is None:
            text = f"The client {client.client_id} cannot be removed with what is kept of it."
            raise SluiceError(text, "Ask the operators to remove it.")
        headers = {"Authorization": f"Bearer {client.registration_token}"}
        await self._transport.send("DELETE", client.registration_uri, headers=headers)

    async def _register(self, wish: Mapping[str, Any], initial_token: str | None) -> _Registered:
        endpoint = (await self._found()).registration_endpoint
        if endpoint is None:
            raise SluiceError("Sign-up is closed here.", "Ask the operators for a client id and secret.")
        headers = {"Content-Type": "application/json"}
        if initial_token:
            headers["Authorization"] = f"Bearer {initial_token}"
        answer = await self._transport.send(
            "POST", endpoint, headers=headers, data=msgspec.json.encode(wish), repeatable=False
        )
        return _read(answer.body, _Registered)

    async def token(self, credentials: Credentials | KeyCredentials, scopes: Sequence[str] | None) -> _Token:
        """Get an access token for `scopes`, or for all that the client has."""
        form = {"grant_type": "client_credentials"}
        if scopes:
            form["scope"] = " ".join(scopes)
        endpoint = (await self._found()).token_endpoint
        if isinstance(credentials, KeyCredentials):
            proven = credentials

            def signed() -> dict[str, str]:
                # An assertion is good once: an attempt that broke off may have used it up.
                assertion = proven.key.assertion(proven.client_id, endpoint)
                return {**form, "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}

            answer = await self._transport.send("POST", endpoint, data=signed, repeatable=True)
            return _read(answer.body, _Token)
        # RFC 6749 section 2.3.1: both parts are form-encoded before they become Basic.
        basic = aiohttp.encode_basic_auth(
            quote_plus(credentials.client_id), quote_plus(credentials.client_secret)
        )
        answer = await self._transport.send(
            "POST", endpoint, data=form, headers={"Authorization": basic}, repeatable=True
        )
        return _read(answer.body, _Token)

    async def _found(self) -> _Metadata:
        if self._metadata is None:
            try:
                url = f"{self._url}/.well-known/oauth-authorization-server"
                answer = await self._transport.send("GET", url)
            except NotFoundError:
                # The address is the API's, and the authorization server has another: the API says which
                # (SMART App Launch 2.2, "Conformance").
                url = f"{self._url}/fhir/.well-known/smart-configuration"
                answer = await self._transport.send("GET", url)
            self._metadata = _read(answer.body, _Metadata)
        return self._metadata


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE:
        raise SluiceError("The authorization server's answer is none.", "Check its address.") from None


class TokenKeeper:
    """Keeps a valid access token, renewed shortly before its end; many calls share one renewal.

    A token that was given (`AccessToken`) is used as long as it is good.

    Parameters
    ----------
    clock
        Gives seconds on a steady scale.
    """

    def __init__(
        self,
        authority: Authority,
        credentials: AnyCredentials | None,
        scopes: Sequence[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authority = authority
        self._credentials = credentials
        self._scopes = scopes
        self._clock = clock
        self._token = ""
        self._renew_at = 0.0
        self._lock = asyncio.Lock()

    async def get(self) -> str:
        """Give a token that is valid for a while yet.

        Raises
        ------
        AuthenticationError
            There are no credentials, or they are not accepted.
        """
        if isinstance(self._credentials, AccessToken):
            return self._credentials.token
        async with self._lock:
            if not self._token or self._clock() >= self._renew_at:
                if self._credentials is None:
                    raise AuthenticationError(401, "no_credentials", "There are no credentials.", "Log in.")
                got = await self._authority.token(self._credentials, self._scopes)
                self._token = got.access_token
                self._renew_at = self._clock() + got.expires_in - min(_MARGIN, got.expires_in / 2)
            return self._token

    @property
    def ready(self) -> bool:
        """Whether there is anything to get a token with."""
        return self._credentials is not None

    def drop(self, token: str) -> None:
        """Forget a token that was refused; the next call gets a new one."""
        if token == self._token:
            self._token = ""

    def use(self, credentials: AnyCredentials) -> None:
        """Use other credentials from now on."""
        self._credentials = credentials
        self._token = ""
