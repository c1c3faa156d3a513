"""Who is the client: by its secret or by an assertion signed with its key (RFC 6749 section 2.3).

A public client names itself and proves nothing; what it brings has to prove that it is meant (PKCE).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sluice_auth import assertion
from sluice_auth.client_secrets import matches
from sluice_auth.errors import invalid_client, too_many
from sluice_auth.model import AuthMethod, Client
from sluice_auth.ports import Store, Work
from sluice_auth.throttle import Throttle
from sluice_security.jose import RejectedError


@dataclass(frozen=True, slots=True)
class BySecret:
    """A client id and secret, from the header or from the form."""

    client_id: str
    secret: str


@dataclass(frozen=True, slots=True)
class ByAssertion:
    """A client assertion, and the client id if the form has one as well."""

    assertion: str
    client_id: str | None = None


@dataclass(frozen=True, slots=True)
class ByName:
    """A client id alone: a public client's."""

    client_id: str


Credentials = BySecret | ByAssertion | ByName


class FetchedKeys(Protocol):
    """Gives the keys that clients registered by address."""

    async def at(self, url: str, kid: str) -> Sequence[dict[str, Any]]:
        """Give the keys at `url`, where one called `kid` is looked for.

        Raises
        ------
        RejectedError
            They cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Claim:
    """Who a caller says it is, and what there is to check that by.

    `keys` were fetched from `keys_url`, the client's when it was looked up.
    """

    client: str
    credentials: Credentials
    origin: str
    keys_url: str | None = None
    keys: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Failed authentications: per client and address, and per address."""

    client: Throttle
    address: Throttle

    def wait(self, client_id: str, origin: str) -> float:
        """Give the seconds this client must wait at this address."""
        return max(self.client.wait((client_id, origin)), self.address.wait(origin))

    def count(self, client_id: str, origin: str) -> None:
        """Note a failure."""
        self.client.count((client_id, origin))
        self.address.count(origin)


class Authenticator:
    """Authenticates clients, in two steps: `admit` outside of the transaction, `authenticate` within it.

    Parameters
    ----------
    store
        Has the clients.
    token_url
        What an assertion's `aud` must be.
    fetched
        Finds keys that were registered by address.
    limits
        How often one may fail. A client is not locked out by failures at another address.
    now
        Unix seconds.
    """

    def __init__(
        self,
        store: Store,
        *,
        token_url: str,
        fetched: FetchedKeys,
        limits: Limits,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._token_url = token_url
        self._fetched = fetched
        self._limits = limits
        self._now = now

    async def admit(self, credentials: Credentials, origin: str) -> Claim:
        """Find out which client is claimed, unless it failed too often, and fetch its keys if need be.

        Raises
        ------
        OAuthError
            `temporarily_unavailable`, 429; `invalid_client` if no client is named or its keys are away.
        """
        self._wait(self._limits.address.wait(origin))
        if not isinstance(credentials, ByAssertion):
            self._wait(self._limits.wait(credentials.client_id, origin))
            return Claim(credentials.client_id, credentials, origin)
        try:
            claimed, kid = assertion.claimed(credentials.assertion)
        except RejectedError as error:
            self._limits.address.count(origin)
            raise invalid_client(f"The assertion was refused: {error.text}.") from None
        self._wait(self._limits.wait(claimed, origin))
        client = await self._store.client(claimed)
        if client is None or client.keys_url is None:
            return Claim(claimed, credentials, origin)
        try:
            # Before the transaction: a slow client must not hold a connection to the database.
            keys = await self._fetched.at(client.keys_url, kid)
        except RejectedError as error:
            self._limits.count(claimed, origin)
            raise invalid_client(f"Client authentication failed: {error.text}.") from None
        return Claim(claimed, credentials, origin, client.keys_url, keys)

    async def authenticate(self, work: Work, claim: Claim) -> Client:
        """Give the client, if the claim is true.

        Raises
        ------
        OAuthError
            `invalid_client`.
        """
        client = await work.client(claim.client)
        try:
            if isinstance(claim.credentials, BySecret):
                return self._by_secret(client, claim.credentials)
            if isinstance(claim.credentials, ByName):
                return self._by_name(client)
            return await self._by_assertion(work, client, claim, claim.credentials)
        except RejectedError as error:
            self._limits.count(claim.client, claim.origin)
            raise invalid_client(f"Client authentication failed: {error.text}.") from None

    @staticmethod
    def _wait(seconds: float) -> None:
        if seconds > 0:
            raise too_many(seconds)

    def _by_secret(self, client: Client | None, credentials: BySecret) -> Client:
        # Compared also when there is no such client, so that both take the same time.
        proven = matches(credentials.secret, None if client is None else client.secret_hash)
        if client is None or not proven or not client.method.by_secret:
            raise RejectedError("wrong_secret", "unknown client or wrong secret")
        return client

    @staticmethod
    def _by_name(client: Client | None) -> Client:
        if client is None or client.method is not AuthMethod.NONE:
            raise RejectedError("no_proof", "client authentication is required")
        return client

    async def _by_assertion(
        self, work: Work, client: Client | None, claim: Claim, credentials: ByAssertion
    ) -> Client:
        if client is None or client.method is not AuthMethod.PRIVATE_KEY_JWT:
            raise RejectedError("unknown_client", "no client with a registered key")
        if credentials.client_id not in (None, client.id):
            raise RejectedError("wrong_issuer", "client_id is not the assertion's issuer")
        # A client that has just changed its address is looked up again with its next assertion.
        fetched = claim.keys if claim.keys_url == client.keys_url else ()
        proof = assertion.verify(
            credentials.assertion,
            fetched if client.keys_url is not None else client.keys or (),
            client=client.id,
            token_url=self._token_url,
            now=self._now(),
            keys_url=client.keys_url,
        )
        if not await work.use_assertion(client.id, proof.jti, proof.forget_at):
            raise RejectedError("replayed", "the assertion was used before")
        return client
