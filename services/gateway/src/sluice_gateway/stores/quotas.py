"""Quotas in Postgres: one call, one statement."""

from __future__ import annotations

import asyncpg

from sluice_gateway.quotas import Policy, Usage


class PostgresQuotas:
    """The counts that all gateway processes share (`gateway.quotas`)."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def take(self, policy: Policy, client: str, at: float) -> tuple[bool, Usage]:
        """Count one call unless the window is full; say whether it was counted, and the figures then."""
        row = await self._pool.fetchrow(
            "SELECT allowed, used, frees FROM gateway.take_quota($1, $2, $3, $4, $5, $6)",
            client,
            policy.name,
            policy.most,
            policy.slots + 1,  # the newest is not full yet
            policy.width,
            at,
        )
        assert row is not None  # noqa: S101 - a function that returns no set gives one row
        return row["allowed"], Usage(row["used"], row["frees"], at)

    async def read(self, policy: Policy, client: str, at: float) -> Usage:
        """Give the figures without counting."""
        row = await self._pool.fetchrow(
            "SELECT used, frees FROM gateway.read_quota($1, $2, $3, $4, $5)",
            client,
            policy.name,
            policy.slots + 1,  # the newest is not full yet
            policy.width,
            at,
        )
        assert row is not None  # noqa: S101 - as above
        return Usage(row["used"], row["frees"], at)
