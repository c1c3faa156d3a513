"""The authorization server's store, in memory and real: what holds of the one holds of the other.

A module that says `pytest_plugins = ["support.auth_stores"]` has the fixture.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sluice_auth.postgres import PostgresStore
from sluice_storage.pool import open_pool
from support.auth_store import MemoryStore, Stores
from support.stack import Database


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    """Each of them."""
    if request.param == "memory":
        yield MemoryStore()
        return
    database: Database = request.getfixturevalue("database")
    async with await open_pool(database.dsn_for("auth"), size=8) as pool:
        yield PostgresStore(pool)
