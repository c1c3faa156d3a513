"""A Postgres that neither answers nor closes its connections holds nobody up for long."""

from __future__ import annotations

import asyncio

import pytest

from sluice_storage.pool import open_pool
from support.frozen import frozen
from support.stack import Database


async def test_who_gives_up_on_a_statement_does_not_wait_for_a_server_that_is_silent(
    database: Database,
) -> None:
    async with await open_pool(database.dsn, size=1) as pool:
        backend = await pool.fetchval("SELECT pg_backend_pid()")
        with frozen(backend):
            # Half as long as a statement may take, which is how long its cancelling would be waited for.
            async with asyncio.timeout(30):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await pool.fetchval("SELECT true")
                assert await pool.fetchval("SELECT true")
