"""What a user let clients do: shown to the user, and taken back."""

from __future__ import annotations

from collections.abc import Callable

from sluice_auth.model import Action
from sluice_auth.people import Consent, User
from sluice_auth.ports import Store, Work
from sluice_auth.revocation import revoke_authorization
from sluice_auth.trail import audited


class ConsentService:
    """Lists and withdraws consents."""

    def __init__(self, store: Store, *, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    async def of(self, user: User) -> list[Consent]:
        """Give a user's consents, the newest first."""
        async with self._store.begin() as work:
            return await work.people.consents(user.id)

    async def withdraw(self, user: User, client_id: str) -> None:
        """Take back all that a user let a client do; the client's tokens for that user are void."""
        async with audited(self._store, Action.WITHDRAW, self._now()) as act:
            client = await act.work.client(client_id)
            act.note(subject=user.id, client=None if client is None else client.id)
            await act.work.people.withdraw(user.id, client_id)
            await revoke_all(act.work, user.id, client_id, now=self._now())


async def revoke_all(work: Work, user_id: str, client_id: str | None = None, *, now: float) -> None:
    """Void what clients, or one of them, were given on behalf of a user."""
    for authorization_id in await work.authorizations.of(user_id, client_id):
        await revoke_authorization(work, authorization_id, now=now)
