"""The authorization server's store in Postgres: plain statements, no rules."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

from sluice_auth.model import DONE, AuthMethod, Client, Entry, GrantType, SealedKey
from sluice_auth.ports import Plan, Work
from sluice_auth.postgres_authorizations import PostgresAuthorizations
from sluice_auth.postgres_people import PostgresPeople
from sluice_contracts.audit import FAILED, SUCCESS
from sluice_security.callers import caller
from sluice_security.scopes import Scopes
from sluice_storage import audit
from sluice_telemetry.trace import trace_id

# One process at a time decides about keys; the number only has to be nobody else's.
_KEYS_LOCK = 0x51_1CE_5EA1
# A caller is better told to come back than kept waiting for a connection.
_PATIENCE = 5.0
_COLUMNS = """name, auth_method, grant_types, scopes, secret_hash, registration_hash,
    jwks::text, jwks_uri, redirect_uris, details::text, operator"""
# What is dropped when its time has come. Authorizations take with them what came of them.
_EXPIRING = (
    ("assertions", "expires_at"),
    ("revoked", "forget_at"),
    ("sessions", "expires_at"),
    ("given_tokens", "expires_at"),
    ("authorizations", "expires_at"),
)


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


class PostgresWork:
    """One transaction on one connection."""

    def __init__(self, connection: asyncpg.Connection | PoolConnectionProxy) -> None:
        self._connection = connection
        self.people = PostgresPeople(connection)
        self.authorizations = PostgresAuthorizations(connection)

    async def client(self, client_id: str) -> Client | None:
        """Give a client that was not removed."""
        if "\0" in client_id:  # Postgres has no such text
            return None
        row = await self._connection.fetchrow(
            f"SELECT {_COLUMNS}, extract(epoch FROM created_at)::float8 AS created"  # noqa: S608 - no input in it
            " FROM auth.clients WHERE client_id = $1 AND removed_at IS NULL",
            client_id,
        )
        return None if row is None else _client(client_id, row)

    async def add_client(self, client: Client) -> None:
        """Add a client, or put back one of that id."""
        await self._connection.execute(
            """INSERT INTO auth.clients (client_id, name, auth_method, grant_types, scopes, secret_hash,
                registration_hash, jwks, jwks_uri, redirect_uris, details, operator, created_at, updated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8::json, $9, $10, $11::json, $12, $13, $13)
            ON CONFLICT (client_id) DO UPDATE SET name = excluded.name, auth_method = excluded.auth_method,
                grant_types = excluded.grant_types, scopes = excluded.scopes,
                secret_hash = excluded.secret_hash, registration_hash = excluded.registration_hash,
                jwks = excluded.jwks, jwks_uri = excluded.jwks_uri,
                redirect_uris = excluded.redirect_uris, details = excluded.details,
                operator = excluded.operator,
                updated_at = excluded.updated_at, removed_at = NULL""",
            client.id,
            *_values(client),
            _when(client.created_at),
        )

    async def change_client(self, client: Client, at: float) -> None:
        """Replace all that is known of a client."""
        await self._connection.execute(
            """UPDATE auth.clients SET name = $2, auth_method = $3, grant_types = $4, scopes = $5,
                secret_hash = $6, registration_hash = $7, jwks = $8::json, jwks_uri = $9,
                redirect_uris = $10, details = $11::json, operator = $12, updated_at = $13
            WHERE client_id = $1""",
            client.id,
            *_values(client),
            _when(at),
        )

    async def remove_client(self, client_id: str, at: float) -> None:
        """Remove a client; its row stays for the audit trail."""
        await self._connection.execute(
            """UPDATE auth.clients SET removed_at = $2, secret_hash = NULL, registration_hash = NULL,
                jwks = NULL, jwks_uri = NULL WHERE client_id = $1""",
            client_id,
            _when(at),
        )

    async def use_assertion(self, issuer: str, jti: str, expires: float) -> bool:
        """Note the use of an assertion; False if it was used before."""
        row = await self._connection.fetchrow(
            "INSERT INTO auth.assertions (issuer, jti_hash, expires_at) VALUES ($1, $2, $3)"
            " ON CONFLICT DO NOTHING RETURNING true",
            issuer,
            hashlib.sha256(jti.encode("utf-8", "surrogatepass")).digest(),
            _when(expires),
        )
        return row is not None

    async def revoke(self, digest: str, issued_until: float, forget_at: float) -> None:
        """Void the tokens of that digest that were issued up to `issued_until`."""
        await self._connection.execute(
            """INSERT INTO auth.revoked AS old (digest, issued_until, forget_at) VALUES ($1, $2, $3)
            ON CONFLICT (digest) DO UPDATE SET
                issued_until = greatest(old.issued_until, excluded.issued_until),
                forget_at = greatest(old.forget_at, excluded.forget_at)""",
            digest,
            _when(issued_until),
            _when(forget_at),
        )

    async def issued_until(self, digests: Sequence[str]) -> float:
        """Give the latest time up to which tokens of any of these digests are void, or -inf."""
        until = await self._connection.fetchval(
            "SELECT extract(epoch FROM max(issued_until))::float8 FROM auth.revoked WHERE digest = ANY($1)",
            list(digests),
        )
        return float("-inf") if until is None else float(until)

    async def record(self, entry: Entry) -> None:
        """Write an audit record."""
        await audit.record(
            self._connection,
            [
                audit.Record(
                    act=entry.action,
                    at=_when(entry.at),
                    outcome=SUCCESS if entry.outcome == DONE else FAILED,
                    reason=None if entry.outcome == DONE else entry.outcome,
                    client=entry.client,
                    subject=entry.subject,
                    address=caller(),
                    kind=None if entry.token is None else "token",
                    entity=entry.token,
                    trace=trace_id(),
                )
            ],
        )


class PostgresStore:
    """The store over a pool; also the signing keys' (`ports.Store`, `ports.KeyStore`)."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Work]:
        """Open a transaction."""
        async with self._pool.acquire(timeout=_PATIENCE) as connection, connection.transaction():
            yield PostgresWork(connection)

    async def client(self, client_id: str) -> Client | None:
        """Give a client that was not removed."""
        async with self._pool.acquire(timeout=_PATIENCE) as connection:
            return await PostgresWork(connection).client(client_id)

    async def revoked(self, now: float) -> dict[str, float]:
        """Give every revocation that may still matter."""
        rows = await self._pool.fetch(
            "SELECT digest, extract(epoch FROM issued_until)::float8 AS until"
            " FROM auth.revoked WHERE forget_at > $1",
            _when(now),
        )
        return {row["digest"]: row["until"] for row in rows}

    async def forget(self, now: float) -> None:
        """Drop what has expired."""
        for table, column in _EXPIRING:
            await self._pool.execute(f"DELETE FROM auth.{table} WHERE {column} <= $1", _when(now))  # noqa: S608 - no input in it

    async def change_keys(self, plan: Plan, record: Callable[[], Entry]) -> list[SealedKey]:
        """Let `plan` decide, one process at a time, and give the keys as they are then."""
        async with self._pool.acquire(timeout=_PATIENCE) as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _KEYS_LOCK)
            rows = await connection.fetch(
                "SELECT kid, sealed, extract(epoch FROM created_at)::float8 AS created,"
                " extract(epoch FROM active_at)::float8 AS active FROM auth.signing_keys"
            )
            present = [SealedKey(row["kid"], row["sealed"], row["created"], row["active"]) for row in rows]
            added, dropped = plan(present)
            for key in added:
                await connection.execute(
                    "INSERT INTO auth.signing_keys (kid, sealed, created_at, active_at)"
                    " VALUES ($1, $2, $3, $4)",
                    key.kid,
                    key.sealed,
                    _when(key.created_at),
                    _when(key.active_at),
                )
            if dropped:
                await connection.execute("DELETE FROM auth.signing_keys WHERE kid = ANY($1)", list(dropped))
            if added or dropped:
                await PostgresWork(connection).record(record())
        return [*(key for key in present if key.kid not in dropped), *added]


def _values(client: Client) -> tuple[Any, ...]:
    return (
        client.name,
        client.method,
        list(client.grants),
        client.scopes.canonical,
        client.secret_hash,
        client.registration_hash,
        None if client.keys is None else msgspec.json.encode(client.keys).decode(),
        client.keys_url,
        list(client.redirects),
        msgspec.json.encode(client.details).decode(),
        client.operator,
    )


def _client(client_id: str, row: asyncpg.Record) -> Client:
    return Client(
        id=client_id,
        name=row["name"],
        method=AuthMethod(row["auth_method"]),
        grants=tuple(GrantType(name) for name in row["grant_types"]),
        scopes=Scopes.parse(row["scopes"]),
        created_at=row["created"],
        secret_hash=row["secret_hash"],
        registration_hash=row["registration_hash"],
        keys=None if row["jwks"] is None else tuple(msgspec.json.decode(row["jwks"])),
        keys_url=row["jwks_uri"],
        redirects=tuple(row["redirect_uris"]),
        details=msgspec.json.decode(row["details"]),
        operator=row["operator"],
    )
