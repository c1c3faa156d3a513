"""Audit records in Postgres."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from sluice_storage.audit import Record, record


class PostgresAudit:
    """See `sluice_gateway.auditing.Records`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def add(self, records: Sequence[Record]) -> None:
        """See `Records.add`."""
        await record(self._pool, records)
