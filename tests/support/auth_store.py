"""The authorization server's store in memory. It passes the suite that the real one passes."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sluice_auth.model import Client, Entry, SealedKey
from sluice_auth.ports import Plan, Work
from sluice_auth.postgres import PostgresStore
from support.auth_people_store import MemoryAuthorizations, MemoryPeople, PeopleState


@dataclass
class _State:
    clients: dict[str, Client] = field(default_factory=dict)
    assertions: dict[tuple[str, str], float] = field(default_factory=dict)
    revoked: dict[str, tuple[float, float]] = field(default_factory=dict)
    audit: list[Entry] = field(default_factory=list)
    keys: list[SealedKey] = field(default_factory=list)
    people: PeopleState = field(default_factory=PeopleState)


class MemoryWork:
    def __init__(self, state: _State) -> None:
        self._state = state
        self.people = MemoryPeople(state.people, state.clients)
        self.authorizations = MemoryAuthorizations(state.people)

    async def client(self, client_id: str) -> Client | None:
        return self._state.clients.get(client_id)

    async def add_client(self, client: Client) -> None:
        self._state.clients[client.id] = client

    async def change_client(self, client: Client, at: float) -> None:
        self._state.clients[client.id] = client

    async def remove_client(self, client_id: str, at: float) -> None:
        self._state.clients.pop(client_id, None)

    async def use_assertion(self, issuer: str, jti: str, expires: float) -> bool:
        if (issuer, jti) in self._state.assertions:
            return False
        self._state.assertions[issuer, jti] = expires
        return True

    async def revoke(self, digest: str, issued_until: float, forget_at: float) -> None:
        until, forget = self._state.revoked.get(digest, (issued_until, forget_at))
        self._state.revoked[digest] = (max(until, issued_until), max(forget, forget_at))

    async def issued_until(self, digests: Sequence[str]) -> float:
        found = [self._state.revoked[name][0] for name in digests if name in self._state.revoked]
        return max(found, default=float("-inf"))

    async def record(self, entry: Entry) -> None:
        self._state.audit.append(entry)


class MemoryStore:
    """One transaction at a time, on a copy that replaces the state when it commits."""

    def __init__(self) -> None:
        self._state = _State()
        self._lock = asyncio.Lock()
        self.away = False

    @property
    def audit(self) -> list[Entry]:
        return self._state.audit

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Work]:
        if self.away:
            raise ConnectionError("away")
        async with self._lock:
            state = copy.deepcopy(self._state)
            yield MemoryWork(state)
            self._state = state

    async def client(self, client_id: str) -> Client | None:
        if self.away:
            raise ConnectionError("away")
        return self._state.clients.get(client_id)

    async def revoked(self, now: float) -> dict[str, float]:
        if self.away:
            raise ConnectionError("away")
        return {name: until for name, (until, forget) in self._state.revoked.items() if forget > now}

    async def forget(self, now: float) -> None:
        state = self._state
        state.assertions = {name: until for name, until in state.assertions.items() if until > now}
        state.revoked = {name: value for name, value in state.revoked.items() if value[1] > now}
        state.people.forget(now)

    async def change_keys(self, plan: Plan, record: Callable[[], Entry]) -> list[SealedKey]:
        async with self._lock:
            added, dropped = plan(tuple(self._state.keys))
            kept = [key for key in self._state.keys if key.kid not in dropped]
            self._state.keys = [*kept, *added]
            if added or dropped:
                self._state.audit.append(record())
            return list(self._state.keys)


Stores = MemoryStore | PostgresStore
