"""Who is the client: by its secret or by an assertion signed with its key (RFC 6749 section 2.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sluice_auth import assertion
from sluice_auth.client_secrets import matches
from sluice_auth.errors import invalid_client, too_many
from sluice_auth.model import AuthMethod, Client
from sluice_auth.ports import Work
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


Credentials = BySecret | ByAssertion


class ClientKeys(Protocol):
    """Finds the public keys a client signs its assertions with."""

    async def of(self, client: Client) -> Sequence[dict[str, Any]]:
        """Give the client's JWKs."""


class RegisteredKeys:
    """The keys that a client registered by value."""

    async def of(self, client: Client) -> Sequence[dict[str, Any]]:
        """Give the client's JWKs."""
        return client.keys or ()


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
    """Authenticates clients.

    Parameters
    ----------
    token_url
        What an assertion's `aud` must be.
    keys
        Finds a client's keys.
    limits
        How often one may fail. A client is not locked out by failures at another address.
    now
        Unix seconds.
    """

    def __init__(self, *, token_url: str, keys: ClientKeys, limits: Limits, now: Callable[[], float]) -> None:
        self._token_url = token_url
        self._keys = keys
        self._limits = limits
        self._now = now

    def admit(self, credentials: Credentials, origin: str) -> str:
        """Give the client id that is claimed, unless it failed too often.

        Raises
        ------
        OAuthError
            `temporarily_unavailable`, 429; `invalid_client` if no client is named.
        """
        wait = self._limits.address.wait(origin)
        if wait > 0:
            raise too_many(wait)
        if isinstance(credentials, BySecret):
            claimed = credentials.client_id
        else:
            try:
                claimed = assertion.claimed_client(credentials.assertion)
            except RejectedError as error:
                self._limits.address.count(origin)
                raise invalid_client(f"The assertion was refused: {error.text}.") from None
        wait = self._limits.wait(claimed, origin)
        if wait > 0:
            raise too_many(wait)
        return claimed

    async def authenticate(self, work: Work, claimed: str, credentials: Credentials, origin: str) -> Client:
        """Give the client that `credentials` prove; `claimed` is what `admit` gave.

        Raises
        ------
        OAuthError
            `invalid_client`.
        """
        client = await work.client(claimed)
        try:
            if isinstance(credentials, BySecret):
                return self._by_secret(client, credentials)
            return await self._by_assertion(work, client, credentials)
        except RejectedError as error:
            self._limits.count(claimed, origin)
            raise invalid_client(f"Client authentication failed: {error.text}.") from None

    def _by_secret(self, client: Client | None, credentials: BySecret) -> Client:
        # Compared also when there is no such client, so that both take the same time.
        proven = matches(credentials.secret, None if client is None else client.secret_hash)
        if client is None or not proven or not client.method.by_secret:
            raise RejectedError("wrong_secret", "unknown client or wrong secret")
        return client

    async def _by_assertion(self, work: Work, client: Client | None, credentials: ByAssertion) -> Client:
        if client is None or client.method is not AuthMethod.PRIVATE_KEY_JWT:
            raise RejectedError("unknown_client", "no client with a registered key")
        if credentials.client_id not in (None, client.id):
            raise RejectedError("wrong_issuer", "client_id is not the assertion's issuer")
        keys_url = client.details.get("jwks_uri")
        proof = assertion.verify(
            credentials.assertion,
            await self._keys.of(client),
            client=client.id,
            token_url=self._token_url,
            now=self._now(),
            keys_url=keys_url if isinstance(keys_url, str) else None,
        )
        if not await work.use_assertion(client.id, proof.jti, proof.forget_at):
            raise RejectedError("replayed", "the assertion was used before")
        return client
