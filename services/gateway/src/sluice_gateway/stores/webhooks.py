"""Webhooks in Postgres: endpoints, which the gateway writes, and deliveries, which it asks for."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import asyncpg

from sluice_gateway.paging import Window
from sluice_storage.audit.acting import asked

Row = asyncpg.Record
_ENDPOINT = "id, url, types, enabled, note, created_at, delivered_at, previous_until"
_DELIVERY = "id, message, type, job::text, state, attempts, status, error, created_at, due, ended_at"


class PostgresWebhooks:
    """Endpoints of one client at a time, and their deliveries (`webhooks.*`)."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def add(
        self, endpoint: str, client: str, url: str, types: list[str], secret: bytes, at: datetime, most: int
    ) -> Row | None:
        """Add an endpoint; None if the client has as many as it may."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 40))", client)
            await asked(connection)
            return await connection.fetchrow(
                f"""
                INSERT INTO webhooks.endpoints (id, client, url, types, secret, created_at)
                SELECT $1, $2, $3, $4::text[], $5, $6
                WHERE (SELECT count(*) FROM webhooks.endpoints WHERE client = $2) < $7
                RETURNING {_ENDPOINT}
                """,  # noqa: S608
                endpoint,
                client,
                url,
                types,
                secret,
                at,
                most,
            )

    async def page(self, client: str, window: Window) -> tuple[list[Row], int]:
        """Give a page of the client's endpoints, the oldest first, and how many there are."""
        rows = await self._pool.fetch(
            f"SELECT {_ENDPOINT} FROM webhooks.endpoints WHERE client = $1"  # noqa: S608
            " ORDER BY created_at, id LIMIT $2 OFFSET $3",
            client,
            window.limit,
            window.offset,
        )
        total = await self._pool.fetchval("SELECT count(*) FROM webhooks.endpoints WHERE client = $1", client)
        return rows, total

    async def get(self, client: str, endpoint: str) -> Row | None:
        """Give the client's endpoint."""
        return await self._pool.fetchrow(
            f"SELECT {_ENDPOINT} FROM webhooks.endpoints WHERE client = $1 AND id = $2",  # noqa: S608
            client,
            endpoint,
        )

    async def change(
        self,
        client: str,
        endpoint: str,
        at: datetime,
        *,
        url: str | None,
        types: list[str] | None,
        enabled: bool | None,
    ) -> Row | None:
        """Change what is not None; an endpoint that is disabled is told nothing that waits."""
        async with self._pool.acquire() as connection, connection.transaction():
            await asked(connection)
            row = await connection.fetchrow(
                f"""
                UPDATE webhooks.endpoints SET url = coalesce($3, url), types = coalesce($4, types),
                    enabled = coalesce($5, enabled), note = CASE WHEN $5 THEN NULL ELSE note END
                WHERE client = $1 AND id = $2 RETURNING {_ENDPOINT}
                """,  # noqa: S608
                client,
                endpoint,
                url,
                types,
                enabled,
            )
            if row is not None and not row["enabled"]:
                await connection.execute(
                    "UPDATE webhooks.deliveries SET state = 'failed', ended_at = $2"
                    " WHERE endpoint = $1 AND state = 'waiting'",
                    endpoint,
                    at,
                )
            return row

    async def rotate(self, client: str, endpoint: str, secret: bytes, until: datetime) -> Row | None:
        """Give the client's endpoint another secret; the one of now counts until then, any before no more."""
        async with self._pool.acquire() as connection, connection.transaction():
            await asked(connection)
            return await connection.fetchrow(
                f"""
                UPDATE webhooks.endpoints SET previous = secret, previous_until = $4, secret = $3
                WHERE client = $1 AND id = $2 RETURNING {_ENDPOINT}
                """,  # noqa: S608
                client,
                endpoint,
                secret,
                until,
            )

    async def remove(self, client: str, endpoint: str) -> bool:
        """Remove the client's endpoint with its deliveries; say whether it was there."""
        async with self._pool.acquire() as connection, connection.transaction():
            await asked(connection)
            done = await connection.execute(
                "DELETE FROM webhooks.endpoints WHERE client = $1 AND id = $2", client, endpoint
            )
        return bool(done != "DELETE 0")

    async def deliveries(
        self, client: str, endpoint: str, state: str | None, window: Window
    ) -> tuple[list[Row], int]:
        """Give a page of an endpoint's deliveries, the newest first, and how many there are."""
        where = """
            FROM webhooks.deliveries WHERE endpoint = $2 AND ($3::text IS NULL OR state = $3)
            AND EXISTS (SELECT FROM webhooks.endpoints WHERE id = $2 AND client = $1)
        """
        wanted: tuple[Any, ...] = (client, endpoint, state)
        rows = await self._pool.fetch(
            f"SELECT {_DELIVERY} {where} ORDER BY id DESC LIMIT $4 OFFSET $5",
            *wanted,
            window.limit,
            window.offset,
        )
        return rows, await self._pool.fetchval(f"SELECT count(*) {where}", *wanted)

    async def delivery(self, client: str, endpoint: str, delivery: int) -> Row | None:
        """Give one of an endpoint's deliveries."""
        return await self._pool.fetchrow(
            f"""
            SELECT {_DELIVERY} FROM webhooks.deliveries WHERE id = $3 AND endpoint = $2
            AND EXISTS (SELECT FROM webhooks.endpoints WHERE id = $2 AND client = $1)
            """,  # noqa: S608
            client,
            endpoint,
            delivery,
        )

    async def ping(
        self, endpoint: str, message: str, kind: str, body: bytes, at: datetime, until: datetime
    ) -> Row | None:
        """Add a delivery that is about no job."""
        return await self._pool.fetchrow(
            f"""
            INSERT INTO webhooks.deliveries (endpoint, message, type, body, created_at, due, until)
            VALUES ($1, $2, $3, $4, $5, $5, $6) RETURNING {_DELIVERY}
            """,  # noqa: S608
            endpoint,
            message,
            kind,
            body,
            at,
            until,
        )

    async def again(self, delivery: int, at: datetime, until: datetime) -> Row | None:
        """Have a delivery made anew, whatever became of it."""
        return await self._pool.fetchrow(
            f"""
            UPDATE webhooks.deliveries SET state = 'waiting', due = $2, until = $3, attempts = 0,
                ended_at = NULL
            WHERE id = $1 RETURNING {_DELIVERY}
            """,  # noqa: S608
            delivery,
            at,
            until,
        )
