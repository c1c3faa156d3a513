"""What the services need of a store about people: parts of a transaction (`sluice_auth.ports.Work`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sluice_auth.people import Authorization, Consent, User
from sluice_security.scopes import Scopes


class People(Protocol):
    """Users, their sessions and consents. A user that was removed is not found."""

    async def user(self, user_id: str) -> User | None:
        """Give a user."""

    async def user_named(self, name: str) -> User | None:
        """Give the user who signs in by that folded name."""

    async def add_user(self, user: User) -> bool:
        """Add a user; False if the name is taken. Atomic across processes."""

    async def change_password(self, user_id: str, password_hash: str, at: float) -> None:
        """Replace a user's password."""

    async def change_operator(self, user_id: str, operator: bool, at: float) -> None:
        """Say whether a user is an operator."""

    async def remove_user(self, user_id: str, at: float) -> None:
        """Remove a user; the id stays taken."""

    async def open_session(self, digest: bytes, user_id: str, at: float, expires: float) -> None:
        """Note that a user signed in."""

    async def session(self, digest: bytes, now: float) -> User | None:
        """Give the user whose session that is, if it has not ended."""

    async def close_session(self, digest: bytes) -> None:
        """End a session."""

    async def close_sessions(self, user_id: str) -> None:
        """End all sessions of a user."""

    async def consent(self, user_id: str, client_id: str, resource: str) -> Scopes:
        """Give what a user consented to; nothing if that was never asked or was withdrawn."""

    async def remember(self, consent: Consent) -> None:
        """Put a consent in the place of any former one for that user, client and resource."""

    async def consents(self, user_id: str) -> list[Consent]:
        """Give a user's consents to clients that are still there, the newest first."""

    async def withdraw(self, user_id: str, client_id: str) -> None:
        """Forget what a user consented to for a client."""


class Authorizations(Protocol):
    """Codes, refresh tokens, and the access tokens that came of them."""

    async def add(self, authorization: Authorization, code_digest: bytes) -> None:
        """Add what a new code stands for."""

    async def by_code(self, digest: bytes) -> Authorization | None:
        """Give what a code stands for, and keep others from it until the transaction ends."""

    async def by_refresh(self, digest: bytes) -> Authorization | None:
        """Give what a refresh token came of, and keep others from it until the transaction ends."""

    async def redeem(self, authorization_id: str, at: float, expires: float) -> None:
        """Note that the code was tried; what comes of it lasts until `expires`."""

    async def add_refresh(self, authorization_id: str, digest: bytes, at: float) -> None:
        """Add a refresh token."""

    async def use_refresh(self, digest: bytes, at: float) -> bool:
        """Note the use of a refresh token; False if it was used before."""

    async def note_token(self, authorization_id: str, jti: str, expires: float) -> None:
        """Note that an access token came of it."""

    async def revoke(self, authorization_id: str, at: float) -> dict[str, float]:
        """Revoke it, and give the access tokens that came of it: `jti` to the time each expires."""

    async def of(self, user_id: str, client_id: str | None = None) -> Sequence[str]:
        """Give the ids of a user's authorizations, of one client or of all, and lock them."""
