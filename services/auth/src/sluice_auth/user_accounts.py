"""Users' accounts: made, changed and removed by operators."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from sluice_auth.consents import revoke_all
from sluice_auth.model import Action
from sluice_auth.passwords import SHORTEST, Passwords, acceptable
from sluice_auth.people import USER_PREFIX, User, fold_name
from sluice_auth.ports import Store
from sluice_auth.trail import audited


class AccountError(ValueError):
    """The account cannot be made or changed like this; the text says why."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """Makes, changes and removes accounts."""

    store: Store
    passwords: Passwords

    async def add(self, name: str, password: str, *, now: float, operator: bool = False) -> User:
        """Make an account; an operator's, if that is said.

        Raises
        ------
        AccountError
            The name cannot be used or is taken, or the password is too short or too long.
        """
        folded = fold_name(name)
        if folded is None:
            raise AccountError("the name is empty, too long, or has characters that cannot be seen")
        user = User(f"{USER_PREFIX}{uuid4().hex[:16]}", folded, await self._hash(password), now, operator)
        async with audited(self.store, Action.ADD_USER, now) as act:
            if not await act.work.people.add_user(user):
                raise AccountError("the name is taken")
            act.note(subject=user.id)
        return user

    async def change_password(self, name: str, password: str, *, now: float) -> None:
        """Replace a password, and end every session that was begun with the old one.

        Raises
        ------
        AccountError
            There is no such user, or the password is too short or too long.
        """
        password_hash = await self._hash(password)
        async with audited(self.store, Action.CHANGE_PASSWORD, now) as act:
            user = await act.work.people.user_named(fold_name(name) or "")
            if user is None:
                raise AccountError("there is no such user")
            act.note(subject=user.id)
            await act.work.people.change_password(user.id, password_hash, now)
            await act.work.people.close_sessions(user.id)

    async def change_operator(self, name: str, *, operator: bool, now: float) -> None:
        """Say whether someone is an operator; tokens are good for what they say until they are renewed.

        Raises
        ------
        AccountError
            There is no such user.
        """
        async with audited(self.store, Action.CHANGE_OPERATOR, now) as act:
            user = await act.work.people.user_named(fold_name(name) or "")
            if user is None:
                raise AccountError("there is no such user")
            act.note(subject=user.id)
            await act.work.people.change_operator(user.id, operator, now)

    async def remove(self, name: str, *, now: float) -> None:
        """Remove an account; sessions, and all that clients were given for it, are void.

        Raises
        ------
        AccountError
            There is no such user.
        """
        async with audited(self.store, Action.REMOVE_USER, now) as act:
            user = await act.work.people.user_named(fold_name(name) or "")
            if user is None:
                raise AccountError("there is no such user")
            act.note(subject=user.id)
            await act.work.people.remove_user(user.id, now)
            await act.work.people.close_sessions(user.id)
            await revoke_all(act.work, user.id, now=now)

    async def _hash(self, password: str) -> str:
        if not acceptable(password):
            raise AccountError(f"the password must have at least {SHORTEST} characters, and not hundreds")
        return await self.passwords.hash(password)
