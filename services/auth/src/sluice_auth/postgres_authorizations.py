"""Codes, refresh tokens and what came of them in Postgres: plain statements, no rules.

Whoever changes an authorization holds its row's lock first, so that of two who bring the same code or refresh
token at once, the second sees what the first did.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from sluice_auth.people import Authorization
from sluice_security.scopes import Scopes

_COLUMNS = """authorization_id, client_id, user_id, resource, scopes, redirect_uri, challenge,
    extract(epoch FROM code_expires_at)::float8 AS code_expires,
    extract(epoch FROM expires_at)::float8 AS expires,
    redeemed_at IS NOT NULL AS redeemed, revoked_at IS NOT NULL AS revoked"""


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


class PostgresAuthorizations:
    """A part of one transaction (`sluice_auth.people_ports.Authorizations`)."""

    def __init__(self, connection: asyncpg.Connection | PoolConnectionProxy) -> None:
        self._connection = connection

    async def add(self, authorization: Authorization, code_digest: bytes) -> None:
        """Add what a new code stands for."""
        await self._connection.execute(
            """INSERT INTO auth.authorizations (authorization_id, client_id, user_id, resource, scopes,
                redirect_uri, challenge, code_hash, code_expires_at, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)""",
            authorization.id,
            authorization.client,
            authorization.user,
            authorization.resource,
            authorization.scopes.canonical,
            authorization.redirect_uri,
            authorization.challenge,
            code_digest,
            _when(authorization.code_expires),
            _when(authorization.expires),
        )

    async def by_code(self, digest: bytes) -> Authorization | None:
        """Give what a code stands for, and lock it."""
        return _authorization(
            await self._connection.fetchrow(
                f"SELECT {_COLUMNS} FROM auth.authorizations WHERE code_hash = $1 FOR UPDATE",  # noqa: S608 - no input in it
                digest,
            )
        )

    async def by_refresh(self, digest: bytes) -> Authorization | None:
        """Give what a refresh token came of, and lock it."""
        return _authorization(
            await self._connection.fetchrow(
                f"SELECT {_COLUMNS} FROM auth.authorizations WHERE authorization_id ="  # noqa: S608 - no input in it
                " (SELECT authorization_id FROM auth.refresh_tokens WHERE token_hash = $1) FOR UPDATE",
                digest,
            )
        )

    async def redeem(self, authorization_id: str, at: float, expires: float) -> None:
        """Note that the code was tried; what comes of it lasts until `expires`."""
        await self._connection.execute(
            "UPDATE auth.authorizations SET redeemed_at = $2, expires_at = $3 WHERE authorization_id = $1",
            authorization_id,
            _when(at),
            _when(expires),
        )

    async def add_refresh(self, authorization_id: str, digest: bytes, at: float) -> None:
        """Add a refresh token."""
        await self._connection.execute(
            "INSERT INTO auth.refresh_tokens (token_hash, authorization_id, issued_at) VALUES ($1, $2, $3)",
            digest,
            authorization_id,
            _when(at),
        )

    async def use_refresh(self, digest: bytes, at: float) -> bool:
        """Note the use of a refresh token; False if it was used before."""
        row = await self._connection.fetchrow(
            "UPDATE auth.refresh_tokens SET used_at = $2"
            " WHERE token_hash = $1 AND used_at IS NULL RETURNING true",
            digest,
            _when(at),
        )
        return row is not None

    async def note_token(self, authorization_id: str, jti: str, expires: float) -> None:
        """Note that an access token came of it."""
        await self._connection.execute(
            "INSERT INTO auth.given_tokens (jti, authorization_id, expires_at) VALUES ($1, $2, $3)",
            jti,
            authorization_id,
            _when(expires),
        )

    async def revoke(self, authorization_id: str, at: float) -> dict[str, float]:
        """Revoke it, and give the access tokens that came of it."""
        await self._connection.execute(
            "UPDATE auth.authorizations SET revoked_at = coalesce(revoked_at, $2)"
            " WHERE authorization_id = $1",
            authorization_id,
            _when(at),
        )
        rows = await self._connection.fetch(
            "DELETE FROM auth.given_tokens WHERE authorization_id = $1"
            " RETURNING jti, extract(epoch FROM expires_at)::float8 AS expires",
            authorization_id,
        )
        return {row["jti"]: row["expires"] for row in rows}

    async def of(self, user_id: str, client_id: str | None = None) -> Sequence[str]:
        """Give the ids of a user's authorizations, and lock them, in one order for all."""
        rows = await self._connection.fetch(
            "SELECT authorization_id FROM auth.authorizations"
            " WHERE user_id = $1 AND ($2::text IS NULL OR client_id = $2) AND revoked_at IS NULL"
            " ORDER BY authorization_id FOR UPDATE",
            user_id,
            client_id,
        )
        return [row["authorization_id"] for row in rows]


def _authorization(row: asyncpg.Record | None) -> Authorization | None:
    if row is None:
        return None
    return Authorization(
        id=row["authorization_id"],
        client=row["client_id"],
        user=row["user_id"],
        scopes=Scopes.parse(row["scopes"]),
        resource=row["resource"],
        redirect_uri=row["redirect_uri"],
        challenge=row["challenge"],
        code_expires=row["code_expires"],
        expires=row["expires"],
        redeemed=row["redeemed"],
        revoked=row["revoked"],
    )
