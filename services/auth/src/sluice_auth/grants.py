"""Grants: what a client gives to get a token, and the token it gets (RFC 6749 sections 4 and 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

from joserfc import jwt

from sluice_auth.authentication import Authenticator, Credentials
from sluice_auth.errors import OAuthError
from sluice_auth.keyring import ALGORITHM, Keyring
from sluice_auth.model import Action, Client, GrantType
from sluice_auth.ports import Store, Work
from sluice_auth.trail import audited
from sluice_security.scopes import InvalidScopeError, Scopes


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request to the token endpoint.

    Parameters
    ----------
    grant_type, scope
        As the form has them; `scope` None if it has none.
    resources
        Every `resource` parameter (RFC 8707 section 2).
    parameters
        The rest of the form, for the grant.
    """

    grant_type: str
    scope: str | None = None
    resources: tuple[str, ...] = ()
    parameters: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """An access token, and what the client is told with it."""

    token: str
    expires_in: int
    scopes: Scopes


class Grant(Protocol):
    """One grant type's rules."""

    async def subject(self, work: Work, client: Client, request: TokenRequest) -> tuple[str, Scopes]:
        """Give whom the token speaks for and the most it may do.

        Raises
        ------
        OAuthError
            The grant is not good.
        """


class ClientCredentials:
    """The client speaks for itself (RFC 6749 section 4.4)."""

    async def subject(self, work: Work, client: Client, request: TokenRequest) -> tuple[str, Scopes]:  # noqa: ARG002
        """Give the client itself and all that it is registered for."""
        return client.id, client.scopes


class TokenService:
    """Issues access tokens (RFC 9068).

    Parameters
    ----------
    grants
        The grant types on offer.
    audiences
        The resource servers tokens may be for; the first is the default.
    lifetime
        Of a token, in seconds.
    """

    def __init__(
        self,
        store: Store,
        authenticator: Authenticator,
        keyring: Keyring,
        *,
        grants: Mapping[GrantType, Grant],
        issuer: str,
        audiences: Sequence[str],
        lifetime: int,
        now: Callable[[], float],
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._store = store
        self._authenticator = authenticator
        self._keyring = keyring
        self._grants = grants
        self._issuer = issuer
        self._audiences = audiences
        self._lifetime = lifetime
        self._now = now
        self._new_id = new_id

    async def issue(self, request: TokenRequest, credentials: Credentials, origin: str) -> Issued:
        """Exchange a grant for an access token, and write both yes and no into the audit trail.

        Raises
        ------
        OAuthError
            The refusal of RFC 6749 section 5.2 or RFC 8707 section 2.
        """
        claim = await self._authenticator.admit(credentials, origin)
        async with audited(self._store, Action.TOKEN, self._now()) as act:
            client = await self._authenticator.authenticate(act.work, claim)
            act.note(client=client.id)
            subject, scopes, audience = await self._granted(act.work, client, request)
            jti = self._new_id()
            act.note(subject=subject, token=jti)
            token = self._sign(client, subject, scopes, audience, jti)
        return Issued(token, self._lifetime, scopes)

    async def _granted(self, work: Work, client: Client, request: TokenRequest) -> tuple[str, Scopes, str]:
        try:
            kind = GrantType(request.grant_type)
            grant = self._grants[kind]
        except (ValueError, KeyError):
            raise OAuthError("unsupported_grant_type", "This grant type is not offered.") from None
        if kind not in client.grants:
            raise OAuthError("unauthorized_client", "The client is not registered for this grant type.")
        audience = self._audience(request.resources)
        subject, most = await grant.subject(work, client, request)
        return subject, granted_scopes(most, request.scope), audience

    def _audience(self, resources: Sequence[str]) -> str:
        if not resources:
            return self._audiences[0]
        resource = resources[0].rstrip("/")
        # One token is for one resource server: whoever it is shown to could use it at the others.
        if len(resources) > 1 or resource not in self._audiences:
            raise OAuthError("invalid_target", "The resource is not one of this server's.")
        return resource

    def _sign(self, client: Client, subject: str, scopes: Scopes, audience: str, jti: str) -> str:
        signer = self._keyring.signer()
        issued_at = int(self._now())
        claims = {
            "iss": self._issuer,
            "aud": audience,
            "sub": subject,
            "client_id": client.id,
            "scope": scopes.canonical,
            "iat": issued_at,
            "exp": issued_at + self._lifetime,
            "jti": jti,
        }
        header = {"alg": ALGORITHM, "typ": "at+jwt", "kid": signer.kid}
        return jwt.encode(header, claims, signer.key, algorithms=[ALGORITHM])


def granted_scopes(most: Scopes, wanted: str | None) -> Scopes:
    """Narrow what was asked for to what may be granted; without a wish, all of it (RFC 6749 section 3.3).

    Raises
    ------
    OAuthError
        `invalid_scope`: a wish is no scope, or nothing of them may be granted.
    """
    try:
        scopes = most if wanted is None else most.narrow(Scopes.parse(wanted))
    except InvalidScopeError:
        raise OAuthError("invalid_scope", "A scope is unknown or malformed.") from None
    if not scopes:
        raise OAuthError("invalid_scope", "None of the scopes may be granted to this client.")
    return scopes
