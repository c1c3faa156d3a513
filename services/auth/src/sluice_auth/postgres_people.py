"""Users, sessions and consents in Postgres: plain statements, no rules."""

from __future__ import annotations

from datetime import UTC, datetime

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from sluice_auth.people import Consent, User
from sluice_security.scopes import Scopes

_USER = """SELECT u.user_id, u.name, u.password_hash, u.operator,
    extract(epoch FROM u.created_at)::float8 AS created FROM auth.users u"""


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


class PostgresPeople:
    """A part of one transaction (`sluice_auth.people_ports.People`)."""

    def __init__(self, connection: asyncpg.Connection | PoolConnectionProxy) -> None:
        self._connection = connection

    async def user(self, user_id: str) -> User | None:
        """Give a user."""
        return _user(
            await self._connection.fetchrow(f"{_USER} WHERE u.user_id = $1 AND u.removed_at IS NULL", user_id)
        )

    async def user_named(self, name: str) -> User | None:
        """Give the user who signs in by that folded name."""
        return _user(
            await self._connection.fetchrow(f"{_USER} WHERE u.name = $1 AND u.removed_at IS NULL", name)
        )

    async def add_user(self, user: User) -> bool:
        """Add a user; False if the name is taken."""
        row = await self._connection.fetchrow(
            "INSERT INTO auth.users (user_id, name, password_hash, created_at, updated_at, operator)"
            " VALUES ($1, $2, $3, $4, $4, $5)"
            " ON CONFLICT (name) WHERE removed_at IS NULL DO NOTHING RETURNING true",
            user.id,
            user.name,
            user.password_hash,
            _when(user.created_at),
            user.operator,
        )
        return row is not None

    async def change_password(self, user_id: str, password_hash: str, at: float) -> None:
        """Replace a user's password."""
        await self._connection.execute(
            "UPDATE auth.users SET password_hash = $2, updated_at = $3 WHERE user_id = $1",
            user_id,
            password_hash,
            _when(at),
        )

    async def change_operator(self, user_id: str, operator: bool, at: float) -> None:
        """Say whether a user is an operator."""
        await self._connection.execute(
            "UPDATE auth.users SET operator = $2, updated_at = $3 WHERE user_id = $1",
            user_id,
            operator,
            _when(at),
        )

    async def remove_user(self, user_id: str, at: float) -> None:
        """Remove a user; the id stays taken, the name and the password do not stay."""
        await self._connection.execute(
            "UPDATE auth.users SET removed_at = $2, name = '', password_hash = '' WHERE user_id = $1",
            user_id,
            _when(at),
        )

    async def open_session(self, digest: bytes, user_id: str, at: float, expires: float) -> None:
        """Note that a user signed in."""
        await self._connection.execute(
            "INSERT INTO auth.sessions (session_hash, user_id, created_at, expires_at)"
            " VALUES ($1, $2, $3, $4)",
            digest,
            user_id,
            _when(at),
            _when(expires),
        )

    async def session(self, digest: bytes, now: float) -> User | None:
        """Give the user whose session that is, if it has not ended."""
        return _user(
            await self._connection.fetchrow(
                f"{_USER} JOIN auth.sessions s ON s.user_id = u.user_id"
                " WHERE s.session_hash = $1 AND s.expires_at > $2 AND u.removed_at IS NULL",
                digest,
                _when(now),
            )
        )

    async def close_session(self, digest: bytes) -> None:
        """End a session."""
        await self._connection.execute("DELETE FROM auth.sessions WHERE session_hash = $1", digest)

    async def close_sessions(self, user_id: str) -> None:
        """End all sessions of a user."""
        await self._connection.execute("DELETE FROM auth.sessions WHERE user_id = $1", user_id)

    async def consent(self, user_id: str, client_id: str, resource: str) -> Scopes:
        """Give what a user consented to."""
        text = await self._connection.fetchval(
            "SELECT scopes FROM auth.consents WHERE user_id = $1 AND client_id = $2 AND resource = $3",
            user_id,
            client_id,
            resource,
        )
        return Scopes.parse(text or "")

    async def remember(self, consent: Consent) -> None:
        """Put a consent in the place of any former one."""
        await self._connection.execute(
            """INSERT INTO auth.consents (user_id, client_id, resource, scopes, given_at)
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT (user_id, client_id, resource)
            DO UPDATE SET scopes = excluded.scopes, given_at = excluded.given_at""",
            consent.user,
            consent.client,
            consent.resource,
            consent.scopes.canonical,
            _when(consent.given_at),
        )

    async def consents(self, user_id: str) -> list[Consent]:
        """Give a user's consents to clients that are still there, the newest first."""
        rows = await self._connection.fetch(
            """SELECT client_id, resource, n.scopes, extract(epoch FROM given_at)::float8 AS given, c.name
            FROM auth.consents n JOIN auth.clients c USING (client_id)
            WHERE user_id = $1 AND c.removed_at IS NULL ORDER BY given_at DESC, client_id, resource""",
            user_id,
        )
        return [
            Consent(
                user_id,
                row["client_id"],
                row["resource"],
                Scopes.parse(row["scopes"]),
                row["given"],
                row["name"],
            )
            for row in rows
        ]

    async def withdraw(self, user_id: str, client_id: str) -> None:
        """Forget what a user consented to for a client."""
        await self._connection.execute(
            "DELETE FROM auth.consents WHERE user_id = $1 AND client_id = $2", user_id, client_id
        )


def _user(row: asyncpg.Record | None) -> User | None:
    if row is None:
        return None
    return User(row["user_id"], row["name"], row["password_hash"], row["created"], row["operator"])
