"""Sources in Postgres: registered by operators, sealed at rest, found quickly by everyone else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from msgspec import UNSET

from sluice_fhir.source_auth import (
    BackendServicesAuth,
    BearerAuth,
    ClientCredentialsAuth,
    NoAuth,
    SourceAuth,
    shown,
)
from sluice_fhir.source_store import SourceExistsError, SourceRegistry, SourceStore
from sluice_fhir.sources import InvalidSourceError, SourceChange, SourceDraft
from sluice_storage.pool import open_pool
from support.stack import Database

SECRET = b"s" * 32


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def gateway(database: Database) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(database.dsn_for("gateway"), wait=10)
    yield opened
    await opened.close()


@pytest.fixture
async def fetcher(database: Database) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(database.dsn_for("fetcher"), wait=10)
    yield opened
    await opened.close()


@pytest.fixture
def store(gateway: asyncpg.Pool) -> SourceStore:
    return SourceStore(gateway, SECRET)


AUTHS: list[SourceAuth] = [
    NoAuth(),
    BearerAuth(token="canary-token"),
    ClientCredentialsAuth(token_url="https://t.example/x", client_id="c", client_secret="canary-secret"),
    BackendServicesAuth(token_url="https://t.example/x", client_id="c", scope="system/*.rs"),
]


@pytest.mark.parametrize("auth", AUTHS, ids=lambda auth: type(auth).__name__)
async def test_a_source_is_found_as_it_was_registered_and_its_secrets_are_sealed(
    store: SourceStore, gateway: asyncpg.Pool, fetcher: asyncpg.Pool, auth: SourceAuth
) -> None:
    draft = SourceDraft(
        name="Hospital",
        base_url="https://FHIR.example.org/r4/",
        auth=auth,
        max_requests_per_second=2.5,
        attachment_prefixes=("https://cdn.example.org/files",),
        content_types=("application/pdf",),
    )
    created = await store.create(draft)
    registry = SourceRegistry(fetcher, SECRET)
    assert await store.get(created.id) == created
    assert await store.list() == [created]
    assert await registry.get(created.id) == created
    assert await registry.match("https://fhir.example.org/r4/DocumentReference/1") == created
    assert await registry.match("https://fhir.example.org/r5/DocumentReference/1") is None
    row = await gateway.fetchrow("SELECT * FROM sources.sources")
    assert row is not None
    stored = b" ".join(value if isinstance(value, bytes) else str(value).encode() for value in row.values())
    assert b"canary" not in stored
    if isinstance(created.auth, BackendServicesAuth):
        assert created.auth.key is not None
        assert created.auth.key["d"].encode() not in stored


async def test_one_base_url_is_registered_once(store: SourceStore) -> None:
    await store.create(SourceDraft(name="one", base_url="https://h.example/r4"))
    with pytest.raises(SourceExistsError):
        await store.create(SourceDraft(name="two", base_url="https://H.example:443/r4/"))


async def test_a_change_changes_what_it_names_and_nothing_else(store: SourceStore) -> None:
    created = await store.create(
        SourceDraft(name="one", base_url="https://h.example/r4", auth=BearerAuth(token="t"))
    )
    changed = await store.update(created.id, SourceChange(max_concurrency=2, scrape_schema="generic"))
    assert changed is not None
    assert (changed.max_concurrency, changed.scrape_schema, changed.revision) == (2, "generic", 2)
    assert (changed.name, changed.auth) == (created.name, created.auth)
    assert await store.get(created.id) == changed
    with pytest.raises(InvalidSourceError):
        await store.update(created.id, SourceChange(name=""))
    assert await store.get(created.id) == changed
    assert await store.update("none", SourceChange(name="x")) is None
    assert SourceChange().auth is UNSET


async def test_a_deleted_source_is_gone(store: SourceStore) -> None:
    created = await store.create(SourceDraft(name="one", base_url="https://h.example/r4"))
    assert await store.delete(created.id)
    assert not await store.delete(created.id)
    assert await store.get(created.id) is None


async def test_the_registry_sees_changes_within_its_age_and_new_sources_at_once(
    store: SourceStore, fetcher: asyncpg.Pool
) -> None:
    clock = Clock()

    async def sleep(seconds: float) -> None:
        clock.now += seconds + 0.001

    registry = SourceRegistry(fetcher, SECRET, clock=clock, sleep=sleep)
    assert await registry.match("https://h.example/r4/x") is None
    created = await store.create(SourceDraft(name="one", base_url="https://h.example/r4"))
    found = await registry.get(created.id)
    assert found == created
    await store.update(created.id, SourceChange(enabled=False))
    assert await registry.get(created.id) is found
    clock.now += 3
    assert await registry.get(created.id) is None
    await store.update(created.id, SourceChange(enabled=True))
    clock.now += 3
    again = await registry.get(created.id)
    assert again is not None
    assert again.revision == 3


async def test_a_source_sealed_under_another_secret_is_left_out(
    store: SourceStore, fetcher: asyncpg.Pool, gateway: asyncpg.Pool
) -> None:
    good = await store.create(SourceDraft(name="one", base_url="https://h.example/r4"))
    bad = await SourceStore(gateway, b"x" * 32).create(
        SourceDraft(name="two", base_url="https://i.example/r4")
    )
    registry = SourceRegistry(fetcher, SECRET)
    assert await registry.get(bad.id) is None
    assert await registry.get(good.id) == good


async def test_a_source_whose_credentials_cannot_be_read_is_shown_and_is_given_others(
    store: SourceStore, gateway: asyncpg.Pool
) -> None:
    elsewhere = SourceStore(gateway, b"x" * 32)
    good = await store.create(SourceDraft(name="one", base_url="https://h.example/r4"))
    bad = await elsewhere.create(
        SourceDraft(name="two", base_url="https://i.example/r4", auth=BearerAuth(token="canary"))
    )
    listed = await store.list()
    assert [source.id for source in listed] == [good.id, bad.id]
    assert shown(listed[1].auth) == {"type": "unreadable"}
    # What is not changed stays as it is, for whoever has the secret.
    renamed = await store.update(bad.id, SourceChange(name="three", enabled=False))
    assert renamed is not None
    assert (renamed.name, shown(renamed.auth)) == ("three", {"type": "unreadable"})
    kept = await elsewhere.get(bad.id)
    assert kept is not None
    assert kept.auth == BearerAuth(token="canary")
    changed = await store.update(bad.id, SourceChange(auth=BearerAuth(token="new")))
    assert changed is not None
    assert await store.get(bad.id) == changed
    assert (changed.auth, changed.revision) == (BearerAuth(token="new"), 3)


async def test_a_loopback_source_is_found_only_where_the_setting_allows_it(
    gateway: asyncpg.Pool, fetcher: asyncpg.Pool
) -> None:
    draft = SourceDraft(name="dev", base_url="http://127.0.0.1:8080/fhir")
    created = await SourceStore(gateway, SECRET, loopback=True).create(draft)
    assert await SourceRegistry(fetcher, SECRET).get(created.id) is None
    assert await SourceRegistry(fetcher, SECRET, loopback=True).get(created.id) == created


@pytest.mark.parametrize("role", ["fetcher", "scraper", "attacher"])
async def test_those_who_read_sources_cannot_write_them(database: Database, role: str) -> None:
    pool = await open_pool(database.dsn_for(role), wait=10)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await SourceStore(pool, SECRET).create(SourceDraft(name="x", base_url="https://h.example"))
        assert await SourceRegistry(pool, SECRET).get("x") is None
    finally:
        await pool.close()
