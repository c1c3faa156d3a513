"""The authorization endpoint's rules: what a client may ask a user for, and the code it gets.

RFC 6749 section 4.1, RFC 7636 (S256 alone), RFC 8707, RFC 9207, RFC 9700.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from sluice_auth.client_secrets import Draw, digest, draw
from sluice_auth.errors import ErrorCode, OAuthError, invalid_request
from sluice_auth.grants import granted_scopes, one_audience
from sluice_auth.model import Action, AuthMethod, Client, GrantType
from sluice_auth.people import Authorization, Consent, User
from sluice_auth.ports import Store, Work
from sluice_auth.redirects import is_loopback, matches, with_parameters
from sluice_auth.trail import audited
from sluice_security.scopes import OFFLINE, Scopes

# What SHA-256 gives in base64url without padding.
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_LONGEST_STATE = 2_000


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of a request to the authorization endpoint, None where one is missing."""

    client_id: str | None
    redirect_uri: str | None
    response_type: str | None = None
    scope: str | None = None
    state: str | None = None
    challenge: str | None = None
    challenge_method: str | None = None
    resources: tuple[str, ...] = ()
    by_reference: ErrorCode | None = None
    """The error for a request that is carried in another parameter (`request`, `request_uri`)."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A client, and the registered address to send the user back to: nothing else is known to be good."""

    client: Client
    redirect_uri: str
    state: str | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a user is asked to consent to."""

    destination: Destination
    scopes: Scopes
    resource: str
    challenge: str

    @property
    def client(self) -> Client:
        """Who asks."""
        return self.destination.client


class RefusedToClientError(Exception):
    """The client is told that its request was refused, by way of the user's browser."""

    def __init__(self, destination: Destination, error: OAuthError) -> None:
        super().__init__(error.error)
        self.destination = destination
        self.error = error


def for_users(scopes: Scopes, user: User) -> Scopes:
    """Leave out what only a client may have that acts for itself, or only with a patient in context.

    Operators' scopes are for people who are operators. No client that signs itself up can have them.
    """
    return scopes.without("system", "patient", *(() if user.operator else ("ops",)))


class AuthorizationService:
    """Decides about requests for authorization.

    Parameters
    ----------
    issuer
        Told in every answer, so that a client knows whose code it has (RFC 9207).
    audiences
        The resource servers tokens may be for; the first is the default.
    code_lifetime
        Of a code, in seconds.
    """

    def __init__(
        self,
        store: Store,
        *,
        issuer: str,
        audiences: Sequence[str],
        code_lifetime: float,
        now: Callable[[], float],
        new_id: Callable[[], str] = lambda: uuid4().hex,
        new_code: Draw = draw,
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._audiences = audiences
        self._code_lifetime = code_lifetime
        self._now = now
        self._new_id = new_id
        self._new_code = new_code

    async def destination(self, asked: Asked) -> Destination:
        """Find out where an answer may be sent, before anything else is looked at.

        Raises
        ------
        OAuthError
            The client is unknown, or the address is not its own. This is told to the user and never sent to
            that address (RFC 6749 section 4.1.2.1): anyone could have written it.
        """
        client = None if asked.client_id is None else await self._store.client(asked.client_id)
        if client is None:
            raise invalid_request("The application is not known here.")
        if asked.redirect_uri is None or not matches(client.redirects, asked.redirect_uri):
            raise invalid_request("The address to return to is not one that the application registered.")
        return Destination(client, asked.redirect_uri, asked.state)

    def proposal(self, asked: Asked, destination: Destination, user: User) -> Proposal:
        """Hold the rest of a request against the rules.

        Raises
        ------
        RefusedToClientError
            One is broken.
        """
        try:
            scopes, resource = self._checked(asked, destination.client, user)
        except OAuthError as error:
            raise RefusedToClientError(destination, error) from None
        return Proposal(destination, scopes, resource, asked.challenge or "")

    async def remembered(self, proposal: Proposal, user: User) -> bool:
        """Tell whether the user consented to all of it before, to the same client for certain.

        Any program on a user's machine can pretend to be one without a secret that listens there: for those,
        the user is asked each time (RFC 8252 section 8.6).
        """
        client = proposal.client
        if client.method is AuthMethod.NONE and is_loopback(proposal.destination.redirect_uri):
            return False
        async with self._store.begin() as work:
            consented = await work.people.consent(user.id, client.id, proposal.resource)
        return all(scope in consented for scope in proposal.scopes)

    async def allow(self, proposal: Proposal, user: User, *, asked: bool) -> str:
        """Give the address that the user is sent to with a new code; `asked` if the user was just asked."""
        code, now = self._new_code(), self._now()
        expires = now + self._code_lifetime
        authorization = Authorization(
            id=self._new_id(),
            client=proposal.client.id,
            user=user.id,
            scopes=proposal.scopes,
            resource=proposal.resource,
            redirect_uri=proposal.destination.redirect_uri,
            challenge=proposal.challenge,
            code_expires=expires,
            expires=expires,
        )
        async with audited(self._store, Action.AUTHORIZE, now) as act:
            act.note(client=proposal.client.id, subject=user.id)
            if asked:
                await self._remember(act.work, proposal, user)
            await act.work.authorizations.add(authorization, digest(code))
        return self._answer(proposal.destination, code=code)

    async def deny(self, proposal: Proposal, user: User) -> str:
        """Give the address that the user, who did not consent, is sent to."""
        refusal = OAuthError("access_denied", "The user did not consent.")
        async with audited(self._store, Action.AUTHORIZE, self._now()) as act:
            act.note(client=proposal.client.id, subject=user.id)
            act.refuse(refusal)
        return self.refusal(RefusedToClientError(proposal.destination, refusal))

    def refusal(self, refused: RefusedToClientError) -> str:
        """Give the address that the user is sent to when a request is refused."""
        error = refused.error
        return self._answer(refused.destination, error=error.error, error_description=error.description)

    def _checked(self, asked: Asked, client: Client, user: User) -> tuple[Scopes, str]:
        if asked.by_reference is not None:
            raise OAuthError(asked.by_reference, "Requests are sent as plain parameters here.")
        if asked.response_type is None:
            raise invalid_request("The parameter response_type is missing.")
        if asked.response_type != "code":
            raise OAuthError("unsupported_response_type", "Only codes are given here.")
        if GrantType.AUTHORIZATION_CODE not in client.grants:
            raise OAuthError("unauthorized_client", "The client is not registered for authorization_code.")
        if asked.challenge_method != "S256":
            raise invalid_request("PKCE is required, by code_challenge_method S256.")
        if asked.challenge is None or CHALLENGE.fullmatch(asked.challenge) is None:
            raise invalid_request("code_challenge is missing or not of 43 base64url characters.")
        if asked.state is not None and len(asked.state) > _LONGEST_STATE:
            raise invalid_request("state is too long.")
        resource = one_audience(self._audiences, asked.resources)
        most = for_users(client.scopes, user)
        if GrantType.REFRESH_TOKEN not in client.grants:
            most = most.without(OFFLINE)
        scopes = granted_scopes(most, asked.scope)
        if not scopes.without(OFFLINE):
            raise OAuthError("invalid_scope", "Nothing is asked for that could be used.")
        return scopes, resource

    async def _remember(self, work: Work, proposal: Proposal, user: User) -> None:
        before = await work.people.consent(user.id, proposal.client.id, proposal.resource)
        scopes = Scopes([*before, *proposal.scopes]).tidy()
        await work.people.remember(
            Consent(user.id, proposal.client.id, proposal.resource, scopes, self._now())
        )

    def _answer(self, destination: Destination, **parameters: str) -> str:
        told: dict[str, str | None] = {**parameters, "state": destination.state, "iss": self._issuer}
        return with_parameters(destination.redirect_uri, told)
