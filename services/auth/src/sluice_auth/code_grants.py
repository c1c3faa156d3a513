"""What users gave: the code's exchange (RFC 6749 section 4.1.3, RFC 7636) and its renewal (section 6)."""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hmac import compare_digest

from sluice_auth.authorization import for_users
from sluice_auth.client_secrets import digest
from sluice_auth.errors import OAuthError
from sluice_auth.grants import Permit, TokenRequest, granted_scopes, narrowed, one_audience
from sluice_auth.model import Client
from sluice_auth.people import Authorization
from sluice_auth.ports import Work
from sluice_auth.revocation import revoke_authorization
from sluice_security.scopes import OFFLINE

# RFC 7636 section 4.1.
VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
# An authorization is remembered longer than any token that came of it, for two machines' clocks.
_MARGIN = 120.0


def challenge_of(verifier: str) -> str:
    """Give the S256 challenge of a verifier (RFC 7636 section 4.2)."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).decode().rstrip("=")


class AuthorizationCode:
    """A code: good once, for the client, the address and the verifier it was made for.

    Any attempt spends it, also one that fails: whoever guesses has one guess. A second attempt means that two
    hold it, and one of them stole it, so all that came of it is revoked (RFC 6749 section 4.1.2).

    Parameters
    ----------
    lifetime
        Of access tokens, in seconds.
    refresh_lifetime
        How long after its code an authorization may be refreshed, in seconds.
    """

    def __init__(self, *, lifetime: float, refresh_lifetime: float, now: Callable[[], float]) -> None:
        self._lifetime = lifetime
        self._refresh_lifetime = refresh_lifetime
        self._now = now

    async def permit(self, work: Work, client: Client, request: TokenRequest) -> Permit:
        """Give what the user consented to.

        Raises
        ------
        OAuthError
            `invalid_grant`: the code is unknown, spent, expired, or not for this client, address or verifier.
        """
        code, verifier = request.require("code"), request.require("code_verifier")
        redirect_uri = request.require("redirect_uri")
        authorization = await work.authorizations.by_code(digest(code))
        if authorization is None:
            raise _invalid("The code is not valid.")
        now = self._now()
        if authorization.redeemed:
            await revoke_authorization(work, authorization.id, now=now)
            raise _invalid("The code was used before; what it gave is revoked.")
        renewable = OFFLINE in authorization.scopes
        lasting = max(self._lifetime, self._refresh_lifetime if renewable else 0.0)
        await work.authorizations.redeem(authorization.id, now, now + lasting + _MARGIN)
        if authorization.client != client.id or authorization.redirect_uri != redirect_uri:
            raise _invalid("The code was not given to this client at this address.")
        if VERIFIER.fullmatch(verifier) is None or not compare_digest(
            challenge_of(verifier), authorization.challenge
        ):
            raise _invalid("code_verifier is not the one that the code was asked for with.")
        if authorization.code_expires <= now:
            raise _invalid("The code has expired.")
        return await _permit(work, client, authorization)


class RefreshToken:
    """A refresh token: good once, for its client, and renewed with each use (RFC 9700 section 4.14.2).

    A second use means that two hold it, so the whole authorization is revoked, the tokens it gave included.
    """

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now

    async def permit(self, work: Work, client: Client, request: TokenRequest) -> Permit:
        """Give what the user consented to.

        Raises
        ------
        OAuthError
            `invalid_grant`: the token is unknown, spent, expired, revoked or another client's;
            `invalid_scope` or `invalid_target`, which do not spend it.
        """
        name = digest(request.require("refresh_token"))
        authorization = await work.authorizations.by_refresh(name)
        now = self._now()
        if authorization is None or authorization.client != client.id:
            raise _invalid("The refresh token is not valid.")
        if authorization.expires - _MARGIN <= now:
            raise _invalid("The refresh token has expired.")
        permit = await _permit(work, client, authorization)
        # A wish that cannot be granted must not cost the client its token.
        granted_scopes(permit.scopes, request.scope)
        one_audience((authorization.resource,), request.resources)
        if not await work.authorizations.use_refresh(name, now):
            await revoke_authorization(work, authorization.id, now=now)
            raise _invalid("The refresh token was used before; all that came of it is revoked.")
        return permit


async def _permit(work: Work, client: Client, authorization: Authorization) -> Permit:
    """Give what is left of a consent: the client may have lost scopes, the user an office."""
    user = await work.people.user(authorization.user)
    if authorization.revoked or user is None:
        raise _invalid("The authorization was revoked.")
    return Permit(
        subject=authorization.user,
        scopes=narrowed(for_users(client.scopes, user), authorization.scopes),
        resource=authorization.resource,
        authorization=authorization.id,
    )


def _invalid(description: str) -> OAuthError:
    return OAuthError("invalid_grant", description)
