"""The authorization server's users and authorizations in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sluice_auth.model import Client
from sluice_auth.people import Authorization, Consent, User
from sluice_security.scopes import Scopes


@dataclass
class PeopleState:
    users: dict[str, User] = field(default_factory=dict)
    sessions: dict[bytes, tuple[str, float]] = field(default_factory=dict)
    consents: dict[tuple[str, str, str], Consent] = field(default_factory=dict)
    authorizations: dict[str, Authorization] = field(default_factory=dict)
    codes: dict[bytes, str] = field(default_factory=dict)
    refresh: dict[bytes, tuple[str, bool]] = field(default_factory=dict)
    given: dict[str, tuple[str, float]] = field(default_factory=dict)

    def forget(self, now: float) -> None:
        self.sessions = {name: value for name, value in self.sessions.items() if value[1] > now}
        self.given = {name: value for name, value in self.given.items() if value[1] > now}
        left = {name: value for name, value in self.authorizations.items() if value.expires > now}
        self.authorizations = left
        self.codes = {name: value for name, value in self.codes.items() if value in left}
        self.refresh = {name: value for name, value in self.refresh.items() if value[0] in left}
        self.given = {name: value for name, value in self.given.items() if value[0] in left}


class MemoryPeople:
    def __init__(self, state: PeopleState, clients: dict[str, Client]) -> None:
        self._state = state
        self._clients = clients

    async def user(self, user_id: str) -> User | None:
        return self._state.users.get(user_id)

    async def user_named(self, name: str) -> User | None:
        return next((user for user in self._state.users.values() if user.name == name), None)

    async def add_user(self, user: User) -> bool:
        if await self.user_named(user.name) is not None:
            return False
        self._state.users[user.id] = user
        return True

    async def change_password(self, user_id: str, password_hash: str, at: float) -> None:
        self._state.users[user_id] = replace(self._state.users[user_id], password_hash=password_hash)

    async def change_operator(self, user_id: str, operator: bool, at: float) -> None:
        self._state.users[user_id] = replace(self._state.users[user_id], operator=operator)

    async def remove_user(self, user_id: str, at: float) -> None:
        self._state.users.pop(user_id, None)

    async def open_session(self, digest: bytes, user_id: str, at: float, expires: float) -> None:
        self._state.sessions[digest] = (user_id, expires)

    async def session(self, digest: bytes, now: float) -> User | None:
        user_id, expires = self._state.sessions.get(digest, ("", 0.0))
        return self._state.users.get(user_id) if expires > now else None

    async def close_session(self, digest: bytes) -> None:
        self._state.sessions.pop(digest, None)

    async def close_sessions(self, user_id: str) -> None:
        sessions = self._state.sessions
        self._state.sessions = {name: value for name, value in sessions.items() if value[0] != user_id}

    async def consent(self, user_id: str, client_id: str, resource: str) -> Scopes:
        found = self._state.consents.get((user_id, client_id, resource))
        return Scopes() if found is None else found.scopes

    async def remember(self, consent: Consent) -> None:
        self._state.consents[consent.user, consent.client, consent.resource] = consent

    async def consents(self, user_id: str) -> list[Consent]:
        found = [
            replace(consent, client_name=self._clients[consent.client].name)
            for consent in self._state.consents.values()
            if consent.user == user_id and consent.client in self._clients
        ]
        return sorted(found, key=lambda one: (-one.given_at, one.client, one.resource))

    async def withdraw(self, user_id: str, client_id: str) -> None:
        for key in [key for key in self._state.consents if key[:2] == (user_id, client_id)]:
            del self._state.consents[key]


class MemoryAuthorizations:
    def __init__(self, state: PeopleState) -> None:
        self._state = state

    async def add(self, authorization: Authorization, code_digest: bytes) -> None:
        self._state.authorizations[authorization.id] = authorization
        self._state.codes[code_digest] = authorization.id

    async def by_code(self, digest: bytes) -> Authorization | None:
        return self._state.authorizations.get(self._state.codes.get(digest, ""))

    async def by_refresh(self, digest: bytes) -> Authorization | None:
        return self._state.authorizations.get(self._state.refresh.get(digest, ("", False))[0])

    async def redeem(self, authorization_id: str, at: float, expires: float) -> None:
        kept = self._state.authorizations
        kept[authorization_id] = replace(kept[authorization_id], redeemed=True, expires=expires)

    async def add_refresh(self, authorization_id: str, digest: bytes, at: float) -> None:
        self._state.refresh[digest] = (authorization_id, False)

    async def use_refresh(self, digest: bytes, at: float) -> bool:
        authorization_id, used = self._state.refresh.get(digest, ("", True))
        if used:
            return False
        self._state.refresh[digest] = (authorization_id, True)
        return True

    async def note_token(self, authorization_id: str, jti: str, expires: float) -> None:
        self._state.given[jti] = (authorization_id, expires)

    async def revoke(self, authorization_id: str, at: float) -> dict[str, float]:
        kept = self._state.authorizations
        kept[authorization_id] = replace(kept[authorization_id], revoked=True)
        taken = {
            jti: expires for jti, (owner, expires) in self._state.given.items() if owner == authorization_id
        }
        for jti in taken:
            del self._state.given[jti]
        return taken

    async def of(self, user_id: str, client_id: str | None = None) -> Sequence[str]:
        return sorted(
            one.id
            for one in self._state.authorizations.values()
            if one.user == user_id and client_id in (None, one.client) and not one.revoked
        )
