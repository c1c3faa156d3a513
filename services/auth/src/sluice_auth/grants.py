"""Grants: what a client gives to get a token, and the token it gets (RFC 6749 sections 4 and 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

from joserfc import jwt

from sluice_auth.authentication import Authenticator, Credentials
from sluice_auth.client_secrets import Draw, digest, draw
from sluice_auth.errors import TOO_MANY_LIMITS, OAuthError, invalid_request
from sluice_auth.keyring import ALGORITHM, Keyring
from sluice_auth.model import Action, AuthMethod, Client, GrantType
from sluice_auth.ports import Store, Work
from sluice_auth.trail import audited
from sluice_security.scopes import OFFLINE, InvalidScopeError, Scopes, TooManyLimitsError


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
    parameters: Mapping[str, str] = field(default_factory=dict)

    def require(self, name: str) -> str:
        """Give a parameter that the grant needs.

        Raises
        ------
        OAuthError
            `invalid_request`. `name` is ours, so the text may have it.
        """
        value = self.parameters.get(name)
        if not value:
            raise invalid_request(f"The parameter {name} is missing.")
        return value


@dataclass(frozen=True, slots=True)
class Permit:
    """What a grant is good for.

    Parameters
    ----------
    subject
        Whom the token speaks for.
    scopes
        The most it may do.
    resource
        The resource server it is for; None: whichever is asked for.
    authorization
        What it comes of, when a user gave it; with `offline_access` in `scopes` it may be refreshed.
    """

    subject: str
    scopes: Scopes
    resource: str | None = None
    authorization: str | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """An access token, and what the client is told with it."""

    token: str
    expires_in: int
    scopes: Scopes
    refresh_token: str | None = None


class Grant(Protocol):
    """One grant type's rules."""

    async def permit(self, work: Work, client: Client, request: TokenRequest) -> Permit:
        """Give what the grant is good for, and use it up if it is good once.

        Raises
        ------
        OAuthError
            The grant is not good.
        """


class ClientCredentials:
    """The client speaks for itself (RFC 6749 section 4.4)."""

    async def permit(self, work: Work, client: Client, request: TokenRequest) -> Permit:  # noqa: ARG002
        """Give the client itself and what it is registered for, but what only a user may give."""
        if client.method is AuthMethod.NONE:
            raise OAuthError("unauthorized_client", "The client cannot prove who it is.")
        return Permit(client.id, client.scopes.without("user", "patient", OFFLINE))


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
        new_refresh_token: Draw = draw,
    ) -> None:
        self._new_refresh_token = new_refresh_token
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
            permit = await self._permit(act.work, client, request)
            act.note(subject=permit.subject)
            audience = self._audience(permit, request.resources)
            scopes = granted_scopes(permit.scopes, request.scope)
            jti = self._new_id()
            act.note(token=jti)
            token = self._sign(client, permit.subject, scopes.without(OFFLINE), audience, jti)
            refresh_token = await self._noted(act.work, permit, jti)
        return Issued(token, self._lifetime, scopes, refresh_token)

    async def _permit(self, work: Work, client: Client, request: TokenRequest) -> Permit:
        try:
            kind = GrantType(request.grant_type)
            grant = self._grants[kind]
        except (ValueError, KeyError):
            raise OAuthError("unsupported_grant_type", "This grant type is not offered.") from None
        if kind not in client.grants:
            raise OAuthError("unauthorized_client", "The client is not registered for this grant type.")
        return await grant.permit(work, client, request)

    def _audience(self, permit: Permit, resources: Sequence[str]) -> str:
        offered = self._audiences if permit.resource is None else (permit.resource,)
        return one_audience(offered, resources)

    async def _noted(self, work: Work, permit: Permit, jti: str) -> str | None:
        """Tie the access token to what it came of, to be taken back with that; renew if agreed."""
        if permit.authorization is None:
            return None
        now = self._now()
        await work.authorizations.note_token(permit.authorization, jti, now + self._lifetime)
        if OFFLINE not in permit.scopes:
            return None
        refresh_token = self._new_refresh_token()
        await work.authorizations.add_refresh(permit.authorization, digest(refresh_token), now)
        return refresh_token

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


def one_audience(offered: Sequence[str], resources: Sequence[str]) -> str:
    """Give the one resource server that a token will be for; the first on offer unless one is named.

    Raises
    ------
    OAuthError
        `invalid_target` (RFC 8707 section 2): several, or one that is not on offer.
    """
    if not resources:
        return offered[0]
    resource = resources[0].rstrip("/")
    # One token is for one resource server: whoever it is shown to could use it at the others.
    if len(resources) > 1 or resource not in offered:
        raise OAuthError("invalid_target", "The resource is not one of this server's.")
    return resource


def granted_scopes(most: Scopes, wanted: str | None) -> Scopes:
    """Narrow what was asked for to what may be granted; without a wish, all of it (RFC 6749 section 3.3).

    Raises
    ------
    OAuthError
        `invalid_scope`: a wish is no scope, nothing of them may be granted, or they are too much for a token.
    """
    try:
        scopes = most if wanted is None else most.narrow(Scopes.parse(wanted))
        scopes.check_limits()
    except TooManyLimitsError:
        raise _too_many_limits() from None
    except InvalidScopeError:
        raise OAuthError("invalid_scope", "A scope is unknown or malformed.") from None
    if not scopes:
        raise OAuthError("invalid_scope", "None of the scopes may be granted to this client.")
    return scopes


def narrowed(most: Scopes, wanted: Scopes) -> Scopes:
    """Narrow what is wanted to what may be granted.

    Raises
    ------
    OAuthError
        `invalid_scope`: more of that is limited by search parameters than one token may have.
    """
    try:
        return most.narrow(wanted)
    except TooManyLimitsError:
        raise _too_many_limits() from None


def _too_many_limits() -> OAuthError:
    return OAuthError("invalid_scope", TOO_MANY_LIMITS)
