"""Client sign-up (RFC 7591) and its management by the client itself (RFC 7592)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Literal
from uuid import uuid4

from msgspec import UNSET, Meta, Struct, UnsetType

from sluice_auth import metadata as read
from sluice_auth.client_secrets import Draw, digest, draw, matches
from sluice_auth.errors import OAuthError, invalid_metadata, invalid_registration_token, too_many
from sluice_auth.metadata import CheckAddress, KeySet, Metadata
from sluice_auth.metadata_grants import grants_and_redirects
from sluice_auth.model import Action, AuthMethod, Client, GrantType
from sluice_auth.ports import Store
from sluice_auth.revocation import revoke_client
from sluice_auth.throttle import Throttle
from sluice_auth.trail import Act, audited
from sluice_security.scopes import Scopes


class Openness(StrEnum):
    """Who may sign a client up."""

    OPEN = "open"
    TOKEN = "token"  # noqa: S105 - a setting's value
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Policy:
    """What self-registered clients may have.

    Parameters
    ----------
    openness
        Who may sign up.
    initial_token
        Of the initial access token (RFC 7591 section 3), the digest; needed for `Openness.TOKEN`.
    scopes
        The most a client may register for. Operators' scopes are left out whatever is said here.
    lifetime
        Of access tokens, in seconds.
    """

    openness: Openness
    scopes: Scopes
    lifetime: float
    initial_token: bytes | None = None


@dataclass(frozen=True, slots=True)
class Registered:
    """A client and what it is told once: its secret and registration access token, if they are new."""

    client: Client
    secret: str | None = None
    registration_token: str | None = None


class RegistrationService:
    """Signs clients up.

    Parameters
    ----------
    attempts
        How often one address may sign up or show a wrong token.
    check_address
        Refuses an address that key sets are not fetched from.
    new_id, new_secret
        Make a client's id and secrets.
    """

    def __init__(
        self,
        store: Store,
        policy: Policy,
        *,
        attempts: Throttle,
        check_address: CheckAddress,
        now: Callable[[], float],
        new_id: Callable[[], str] = lambda: uuid4().hex,
        new_secret: Draw = draw,
    ) -> None:
        self._store = store
        self._policy = policy
        self._attempts = attempts
        self._check_address = check_address
        self._now = now
        self._new_id = new_id
        self._new_secret = new_secret

    async def register(self, wish: Metadata, initial_token: str | None, origin: str) -> Registered:
        """Sign a client up.

        Raises
        ------
        OAuthError
            `invalid_token`: not open to this caller. `invalid_client_metadata`: the wish cannot be granted.
        """
        self._count(origin)
        self._admit(initial_token)
        if wish.client_id is not None or wish.client_secret is not None:
            raise invalid_metadata("client_id and client_secret are given by the server.")
        client = self._described(
            Client(
                id=self._new_id(),
                name="",
                method=read.auth_method(wish),
                grants=(),
                scopes=Scopes(),
                created_at=float(int(self._now())),
            ),
            wish,
        )
        secret = self._new_secret() if client.method.by_secret else None
        token = self._new_secret()
        client = replace(
            client, secret_hash=None if secret is None else digest(secret), registration_hash=digest(token)
        )
        async with audited(self._store, Action.REGISTER, self._now()) as act:
            act.note(client=client.id)
            await act.work.add_client(client)
        return Registered(client, secret, token)

    async def read(self, client_id: str, token: str, origin: str) -> Registered:
        """Give a client as it is registered.

        Raises
        ------
        OAuthError
            `invalid_token`: there is no such client, or it is not this token's.
        """
        async with audited(self._store, Action.READ_CLIENT, self._now()) as act:
            return Registered(await self._own(act, client_id, token, origin))

    async def update(self, client_id: str, token: str, wish: Metadata, origin: str) -> Registered:
        """Replace what a client said about itself; whoever starts to use a secret is given one.

        Raises
        ------
        OAuthError
            As `read` and `register`; `invalid_request` if the body is about another client.
        """
        async with audited(self._store, Action.UPDATE_CLIENT, self._now()) as act:
            client = await self._own(act, client_id, token, origin)
            if wish.client_id != client.id:
                raise OAuthError("invalid_request", "client_id must be the client's own.")
            if wish.client_secret is not None and not matches(wish.client_secret, client.secret_hash):
                raise OAuthError("invalid_request", "client_secret is not the client's.")
            method = read.auth_method(wish)
            secret = self._new_secret() if method.by_secret and client.secret_hash is None else None
            kept = client.secret_hash if method.by_secret else None
            client = self._described(
                replace(client, method=method, secret_hash=kept if secret is None else digest(secret)), wish
            )
            await act.work.change_client(client, self._now())
            return Registered(client, secret)

    async def rotate_secret(self, client_id: str, token: str, origin: str) -> Registered:
        """Give a client a new secret; the old one is worth nothing from now on.

        Raises
        ------
        OAuthError
            As `read`; `invalid_client_metadata` for a client that has no secret.
        """
        async with audited(self._store, Action.ROTATE_SECRET, self._now()) as act:
            client = await self._own(act, client_id, token, origin)
            if not client.method.by_secret:
                raise invalid_metadata("The client does not authenticate with a secret.")
            secret = self._new_secret()
            client = replace(client, secret_hash=digest(secret))
            await act.work.change_client(client, self._now())
            return Registered(client, secret)

    async def remove(self, client_id: str, token: str, origin: str) -> None:
        """Remove a client; its tokens are void from now on.

        Raises
        ------
        OAuthError
            As `read`.
        """
        async with audited(self._store, Action.REMOVE_CLIENT, self._now()) as act:
            client = await self._own(act, client_id, token, origin)
            await act.work.remove_client(client.id, self._now())
            await revoke_client(act.work, client.id, now=self._now(), lifetime=self._policy.lifetime)

    def _count(self, origin: str) -> None:
        wait = self._attempts.wait(origin)
        if wait > 0:
            raise too_many(wait)
        self._attempts.count(origin)

    def _admit(self, initial_token: str | None) -> None:
        if self._policy.openness is Openness.CLOSED:
            raise OAuthError("access_denied", "Clients are signed up by the operators here.", 403)
        if self._policy.openness is Openness.TOKEN and not matches(
            initial_token or "", self._policy.initial_token
        ):
            raise invalid_registration_token()

    async def _own(self, act: Act, client_id: str, token: str, origin: str) -> Client:
        wait = self._attempts.wait(origin)
        if wait > 0:
            raise too_many(wait)
        client = await act.work.client(client_id)
        # Compared also when there is no such client, so that both look the same.
        if not matches(token, None if client is None else client.registration_hash) or client is None:
            self._attempts.count(origin)
            raise invalid_registration_token()
        act.note(client=client.id)
        return client

    def _described(self, client: Client, wish: Metadata) -> Client:
        most = self._policy.scopes.without("ops")
        if client.operator:
            most = Scopes([*most, *client.scopes])
        keys = read.keys(wish, client.method, self._check_address)
        grants, redirects = grants_and_redirects(wish, client.method)
        return replace(
            client,
            name=read.name(wish),
            grants=grants,
            redirects=redirects,
            scopes=read.scopes(wish, most),
            keys=None if isinstance(keys, str) else keys,
            keys_url=keys if isinstance(keys, str) else None,
            details=read.details(wish),
        )


class ClientInformation(Struct, kw_only=True):
    """What a client is registered as (RFC 7591 section 3.2.1, RFC 7592 section 3)."""

    client_id: str
    client_id_issued_at: Annotated[int, Meta(description="In Unix seconds.")]
    client_name: str
    grant_types: tuple[GrantType, ...]
    token_endpoint_auth_method: AuthMethod
    scope: Annotated[str, Meta(description="The most that the client may ask for.")]
    registration_client_uri: Annotated[str, Meta(description="Where the client is read and changed.")]
    redirect_uris: tuple[str, ...] | UnsetType = UNSET
    response_types: tuple[Literal["code"], ...] | UnsetType = UNSET
    jwks: KeySet | UnsetType = UNSET
    jwks_reminder: str | UnsetType = UNSET
    jwks_uri: str | UnsetType = UNSET
    client_uri: str | UnsetType = UNSET
    contacts: list[str] | UnsetType = UNSET
    software_id: str | UnsetType = UNSET
    software_version: str | UnsetType = UNSET
    client_secret: Annotated[str, Meta(description="Told once, when it is made.")] | UnsetType = UNSET
    client_secret_expires_at: Annotated[int, Meta(description="0: it does not.")] | UnsetType = UNSET
    registration_access_token: Annotated[str, Meta(description="Told once.")] | UnsetType = UNSET


def response(registered: Registered, issuer: str) -> ClientInformation:
    """Give the client information response (RFC 7591 section 3.2.1)."""
    client = registered.client
    told = ClientInformation(
        client_id=client.id,
        client_id_issued_at=int(client.created_at),
        client_name=client.name,
        grant_types=client.grants,
        token_endpoint_auth_method=client.method,
        scope=client.scopes.canonical,
        registration_client_uri=f"{issuer}/oauth/register/{client.id}",
        **client.details,
    )
    if client.redirects:
        told.redirect_uris = client.redirects
        told.response_types = ("code",)
    if client.keys is not None:
        told.jwks = KeySet(list(client.keys))
        # SMART App Launch 2.2, "Registering a client": whoever gives keys by value is to be reminded.
        told.jwks_reminder = "Send the new set to registration_client_uri whenever your keys change."
    if client.keys_url is not None:
        told.jwks_uri = client.keys_url
    if registered.secret is not None:
        told.client_secret = registered.secret
        told.client_secret_expires_at = 0
    if registered.registration_token is not None:
        told.registration_access_token = registered.registration_token
    return told
