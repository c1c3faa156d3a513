"""Revocation of access and refresh tokens (RFC 7009), and introspection of access tokens (RFC 7662)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from sluice_auth.authentication import Authenticator, Credentials
from sluice_auth.client_secrets import digest
from sluice_auth.errors import OAuthError, invalid_client
from sluice_auth.keyring import Keyring
from sluice_auth.model import Action, AuthMethod, Client
from sluice_auth.ports import Store, Work
from sluice_auth.trail import Act, audited
from sluice_security.tokens import InvalidToken, Principal, check, revocation_digest

# Tokens outlive their expiry for nobody, but two machines' clocks differ a little.
_MARGIN = 60.0


@dataclass(frozen=True, slots=True)
class Judge:
    """Verifies this server's own access tokens, whatever resource server they are for."""

    keyring: Keyring
    issuer: str
    audiences: Sequence[str]
    now: Callable[[], float]

    def principal(self, token: str) -> Principal | None:
        """Give the token's principal, or None if it is not a valid token of this server."""
        try:
            return check(
                token, self.keyring.public(), issuer=self.issuer, audiences=self.audiences, now=self.now()
            )
        except InvalidToken:
            return None


class Introspection(Struct, kw_only=True):
    """What a token is (RFC 7662 section 2.2); of one that is not active nothing else is told."""

    active: bool
    iss: str | UnsetType = UNSET
    client_id: str | UnsetType = UNSET
    sub: Annotated[str, Meta(description="Whom it speaks for: a user, or the client.")] | UnsetType = UNSET
    scope: str | UnsetType = UNSET
    iat: Annotated[int, Meta(description="When it was issued, in Unix seconds.")] | UnsetType = UNSET
    exp: Annotated[int, Meta(description="When it expires, in Unix seconds.")] | UnsetType = UNSET
    jti: str | UnsetType = UNSET
    token_type: Literal["Bearer"] | UnsetType = UNSET


class RevocationService:
    """Takes tokens back, and tells their state to those who may know it."""

    def __init__(
        self, store: Store, authenticator: Authenticator, judge: Judge, *, now: Callable[[], float]
    ) -> None:
        self._store = store
        self._authenticator = authenticator
        self._judge = judge
        self._now = now

    async def revoke(self, token: str, credentials: Credentials, origin: str) -> None:
        """Void a token. One that is unknown or expired is void already (RFC 7009 section 2.2).

        A refresh token takes with it all that came of the same authorization (section 2.1).

        Raises
        ------
        OAuthError
            `invalid_client`, or `invalid_grant` if it is another client's.
        """
        claim = await self._authenticator.admit(credentials, origin)
        async with audited(self._store, Action.REVOKE, self._now()) as act:
            client = await self._authenticator.authenticate(act.work, claim)
            act.note(client=client.id)
            principal = self._judge.principal(token)
            if principal is None:
                await self._revoke_refresh(act, client, token)
                return
            if principal.client != client.id:
                raise OAuthError("invalid_grant", "The token was issued to another client.")
            act.note(token=principal.jti, subject=principal.subject)
            await _void(act.work, principal.jti, principal.expires)

    async def _revoke_refresh(self, act: Act, client: Client, token: str) -> None:
        authorization = await act.work.authorizations.by_refresh(digest(token))
        if authorization is None:
            return
        if authorization.client != client.id:
            raise OAuthError("invalid_grant", "The token was issued to another client.")
        act.note(subject=authorization.user)
        await revoke_authorization(act.work, authorization.id, now=self._now())

    async def introspect(self, token: str, credentials: Credentials, origin: str) -> Introspection:
        """Tell what a token is (RFC 7662 section 2.2).

        A client learns of its own tokens, an operator's client of all; anything else is `active: false`.

        Raises
        ------
        OAuthError
            `invalid_client`.
        """
        claim = await self._authenticator.admit(credentials, origin)
        async with audited(self._store, Action.INTROSPECT, self._now()) as act:
            client = await self._authenticator.authenticate(act.work, claim)
            if client.method is AuthMethod.NONE:
                raise invalid_client("Only clients that prove who they are may ask.")
            act.note(client=client.id)
            principal = self._judge.principal(token)
            if principal is None or not (client.operator or principal.client == client.id):
                return Introspection(active=False)
            act.note(token=principal.jti)
            digests = [
                revocation_digest("token", principal.jti),
                revocation_digest("client", principal.client),
            ]
            void = principal.issued <= await act.work.issued_until(digests)
        return Introspection(active=False) if void else self._description(principal)

    async def revoked(self) -> dict[str, float]:
        """Give all revocations that may still matter to a resource server."""
        return await self._store.revoked(self._now())

    def _description(self, principal: Principal) -> Introspection:
        return Introspection(
            active=True,
            iss=self._judge.issuer,
            client_id=principal.client,
            sub=principal.subject,
            scope=principal.scopes.canonical,
            iat=int(principal.issued),
            exp=int(principal.expires),
            jti=principal.jti,
            token_type="Bearer",  # noqa: S106 - a kind of token
        )


async def revoke_client(work: Work, client_id: str, *, now: float, lifetime: float) -> None:
    """Void all tokens of a client that is being removed.

    Also those that another process is about to issue, having read the client just before: no token issued
    within the next `lifetime` seconds counts either.
    """
    until = now + lifetime
    await work.revoke(revocation_digest("client", client_id), until, until + lifetime + _MARGIN)


async def revoke_authorization(work: Work, authorization_id: str, *, now: float) -> None:
    """Void all that came of an authorization: its refresh tokens, and the access tokens it gave."""
    for jti, expires in (await work.authorizations.revoke(authorization_id, now)).items():
        await _void(work, jti, expires)


async def _void(work: Work, jti: str, expires: float) -> None:
    await work.revoke(revocation_digest("token", jti), expires, expires + _MARGIN)
