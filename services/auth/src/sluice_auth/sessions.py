"""Signing in and out, and who is signed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sluice_auth.client_secrets import Draw, digest, draw
from sluice_auth.errors import OAuthError, too_many
from sluice_auth.model import Action
from sluice_auth.passwords import Passwords
from sluice_auth.people import User, fold_name
from sluice_auth.ports import Store
from sluice_auth.throttle import Throttle
from sluice_auth.trail import audited


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often one may try to sign in: at an address as someone, and at an address."""

    name: Throttle
    address: Throttle

    def count(self, name: str | None, origin: str) -> float:
        """Note an attempt; give the seconds to wait if it is one too many, or 0.

        It is counted before the password is looked at: however many come at once, no more than this are.
        """
        wait = max(self.name.wait((name, origin)), self.address.wait(origin))
        if wait == 0:
            self.name.count((name, origin))
            self.address.count(origin)
        return wait


class SessionService:
    """Signs users in.

    Parameters
    ----------
    lifetime
        Of a session, in seconds, however busy it is.
    new_session
        Draws a session's id, which only its browser knows.
    """

    def __init__(
        self,
        store: Store,
        passwords: Passwords,
        *,
        attempts: Attempts,
        lifetime: float,
        now: Callable[[], float],
        new_session: Draw = draw,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._attempts = attempts
        self.lifetime = lifetime
        self._now = now
        self._new_session = new_session

    async def sign_in(self, name: str, password: str, origin: str) -> str | None:
        """Give the id of a new session, or None if there is no such user or that is not the password.

        Raises
        ------
        OAuthError
            `temporarily_unavailable`, 429.
        """
        folded = fold_name(name)
        wait = self._attempts.count(folded, origin)
        if wait > 0 or self._passwords.busy():
            raise too_many(wait)
        async with self._store.begin() as work:
            user = None if folded is None else await work.people.user_named(folded)
        # Outside of any transaction: it takes its time, and as long for nobody.
        proven = await self._passwords.matches(password, None if user is None else user.password_hash)
        async with audited(self._store, Action.SIGN_IN, self._now()) as act:
            present = None if user is None else await act.work.people.user(user.id)
            if present is not None:
                act.note(subject=present.id)
            # A password that was changed meanwhile is not the password.
            if not proven or present is None or present != user:
                act.refuse(OAuthError("access_denied", "not proven"))
                return None
            session, now = self._new_session(), self._now()
            await act.work.people.open_session(digest(session), present.id, now, now + self.lifetime)
            return session

    async def sign_out(self, session: str) -> None:
        """End a session."""
        async with audited(self._store, Action.SIGN_OUT, self._now()) as act:
            user = await act.work.people.session(digest(session), self._now())
            if user is not None:
                act.note(subject=user.id)
            await act.work.people.close_session(digest(session))

    async def user(self, session: str | None) -> User | None:
        """Give who is signed in."""
        if session is None:
            return None
        async with self._store.begin() as work:
            return await work.people.session(digest(session), self._now())
