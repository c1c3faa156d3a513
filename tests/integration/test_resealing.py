"""The secret of the services is replaced: what the old one sealed opens until all is sealed anew."""

from __future__ import annotations

import time
from dataclasses import dataclass

import asyncpg
import pytest

from sluice_auth.keyring import PURPOSE, Keyring, KeysUnreadableError, Schedule
from sluice_auth.postgres import PostgresStore
from sluice_contracts.ids import Keys
from sluice_fhir.source_auth import BearerAuth, UnreadableAuth
from sluice_fhir.source_store import SourceStore
from sluice_fhir.sources import SourceDraft
from sluice_security.sealing import Seal, SealBrokenError
from sluice_storage.resealing import SEALED, reseal
from support.stack import Database

OLD, NEW = b"o" * 32, b"n" * 32
HOOK = "0" * 24


@dataclass
class Services:
    """What services read that know these secrets."""

    pool: asyncpg.Pool
    secrets: Keys

    def sources(self) -> SourceStore:
        return SourceStore(self.pool, self.secrets)

    async def signer(self) -> str:
        ring = Keyring(
            PostgresStore(self.pool), Seal(self.secrets, PURPOSE), schedule=Schedule(), now=time.time
        )
        await ring.refresh()
        return ring.signer().kid

    async def hook(self, column: str = "secret") -> bytes:
        row = await self.pool.fetchrow("SELECT secret, previous FROM webhooks.endpoints WHERE id = $1", HOOK)
        assert row is not None
        return Seal(self.secrets, "webhooks").open(row[column], HOOK)


async def fill(services: Services) -> tuple[str, str]:
    """Seal something of everything; give the source and the signing key."""
    draft = SourceDraft(name="One", base_url="https://one.example/fhir", auth=BearerAuth(token="t-1"))
    source = await services.sources().create(draft)
    seal = Seal(services.secrets, "webhooks")
    await services.pool.execute(
        "INSERT INTO webhooks.endpoints (id, client, url, types, secret, previous, created_at)"
        " VALUES ($1, 'portal', 'https://portal.example', '{}', $2, $3, now())",
        HOOK,
        seal.close(b"present", HOOK),
        seal.close(b"before", HOOK),
    )
    return source.id, await services.signer()


async def test_everything_opens_under_the_old_secret_until_it_is_resealed_and_under_the_new_one_after(
    database: Database,
) -> None:
    async with asyncpg.create_pool(database.dsn, min_size=1, max_size=2) as pool:
        source, kid = await fill(Services(pool, OLD))
        both, new = Services(pool, (NEW, OLD)), Services(pool, NEW)

        async def seen(services: Services) -> None:
            found = await services.sources().get(source)
            assert found is not None
            assert found.auth == BearerAuth(token="t-1")
            assert await services.signer() == kid
            assert (await services.hook(), await services.hook("previous")) == (b"present", b"before")

        await seen(both)
        unread = await new.sources().get(source)
        assert unread is not None
        assert isinstance(unread.auth, UnreadableAuth)
        with pytest.raises(KeysUnreadableError):
            await new.signer()
        with pytest.raises(SealBrokenError):
            reseal(database.dsn, [NEW])
        await seen(both)
        assert reseal(database.dsn, [NEW, OLD]) == dict.fromkeys(columns(), 1)
        assert reseal(database.dsn, [NEW, OLD]) == dict.fromkeys(columns(), 0)
        await seen(new)
        await seen(both)


def columns() -> list[str]:
    return [f"{each.schema}.{each.table}.{each.column}" for each in SEALED]


async def test_nothing_that_is_sealed_is_left_out(database: Database) -> None:
    """Sealed values are bytes in columns of these names; a new one has to be resealed too."""
    async with asyncpg.create_pool(database.dsn, min_size=1, max_size=1) as pool:
        rows = await pool.fetch(
            "SELECT table_schema || '.' || table_name || '.' || column_name AS name"
            " FROM information_schema.columns WHERE data_type = 'bytea'"
            " AND (column_name LIKE '%sealed%' OR column_name IN ('secret', 'previous'))"
        )
    assert {row["name"] for row in rows} == set(columns())
