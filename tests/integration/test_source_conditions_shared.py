"""Two processes read from one source that refuses and pauses: together, within its limits, and all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext

import asyncpg
import pytest
from aiohttp import web

from sluice_fhir import condition_store
from sluice_fhir.client import FhirClient
from sluice_fhir.condition_store import ConditionStore, Report, Shown
from sluice_fhir.conditions import Bounds, Seen
from sluice_fhir.sharing import sharing
from sluice_fhir.sources import Source
from sluice_security.failure import SourceFailure
from sluice_security.http import GuardedClient
from sluice_storage.pool import open_pool
from support.hostile import http_source
from support.stack import Database

REGISTERED = 8
BEARS = 3
EACH = 25


class Refusing:
    """A source that bears three calls at once, refuses more, and asks for a pause now and then."""

    def __init__(self) -> None:
        self.active = self.most = self.asked = 0
        self.refused = {429: 0, 503: 0}

    async def answer(self, request: web.Request) -> web.Response:
        """Give a Patient, or refuse."""
        self.active += 1
        self.asked += 1
        self.most = max(self.most, self.active)
        try:
            await asyncio.sleep(0.01)
            if self.asked in {20, 40}:
                self.refused[503] += 1
                return web.Response(status=503, headers={"Retry-After": "1"})
            if self.active > BEARS:
                self.refused[429] += 1
                return web.Response(status=429)
            name = request.path.rpartition("/")[2]
            return web.json_response({"resourceType": "Patient", "id": name})
        finally:
            self.active -= 1


@asynccontextmanager
async def process(database: Database, role: str) -> AsyncIterator[FhirClient]:
    """Give the client of a process of its own."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(await open_pool(database.dsn_for(role), wait=10))
        http = await stack.enter_async_context(GuardedClient(loopback=True))
        shared = await stack.enter_async_context(sharing(pool, role, nullcontext))
        yield FhirClient(http, throttle=shared.throttle)


async def read(client: FhirClient, source: Source, name: str) -> int:
    """Read as a step does, again and again; give how often the source itself refused."""
    refused = 0
    while True:
        try:
            await client.get_resource(source, f"Patient/{name}")
        except SourceFailure as failure:
            if not failure.retry:
                raise
            refused += failure.counts
            await asyncio.sleep(min(failure.after or 0.1, 1.0))
        else:
            return refused


async def told(store: ConditionStore) -> Shown:
    """Wait until all answers were told."""
    async with asyncio.timeout(120):
        while True:
            shown = await store.show("s1")
            if shown is not None and sum(minute.good for minute in shown.recent) == 2 * EACH:
                return shown
            await asyncio.sleep(0.1)


async def test_all_is_read_within_what_is_registered_and_both_learn_what_the_source_bears(
    database: Database,
) -> None:
    refusing = Refusing()
    async with http_source() as server, AsyncExitStack() as stack:
        for n in range(2):
            for i in range(EACH):
                server.on(f"/fhir/Patient/{n}-{i}", refusing.answer)
        source = Source(id="s1", name="One", base_url=server.base, max_concurrency=REGISTERED)
        clients = [
            await stack.enter_async_context(process(database, role)) for role in ("fetcher", "attacher")
        ]
        reads = [read(client, source, f"{n}-{i}") for n, client in enumerate(clients) for i in range(EACH)]
        attempts = await asyncio.gather(*reads)
        gateway = await stack.enter_async_context(await open_pool(database.dsn_for("gateway"), wait=10))
        shown = await told(ConditionStore(gateway))
    assert refusing.most <= REGISTERED
    # What a process put off by itself did not count as refused.
    assert sum(attempts) == sum(refusing.refused.values())
    assert sum(minute.refused for minute in shown.recent) == sum(refusing.refused.values()) > 0
    assert shown.condition.cut_at > 0
    assert shown.condition.rate is not None


async def test_a_report_is_learned_once_by_all_and_only_members_may_report(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(condition_store, "_ALIVE_SECONDS", 600.0)
    async with AsyncExitStack() as stack:
        roles = ("scraper", "puller", "gateway")
        stores = [
            ConditionStore(await stack.enter_async_context(await open_pool(database.dsn_for(it), wait=10)))
            for it in roles
        ]
        report = Report(Bounds(8, 10.0), Seen(refused=1, held_for=3600.0), 4)
        first = await stores[0].exchange("a", {"s1": report, "s2": Report(Bounds(2), Seen(), 1)})
        second = await stores[1].exchange("b", {"s1": Report(Bounds(8, 10.0), Seen(), 4)})
        assert (first["s1"].concurrency, second["s1"].concurrency) == (4, 0)
        assert first["s2"].concurrency == 2
        assert min(first["s1"].held_for, second["s1"].held_for) > 3000
        shown = await stores[2].show("s1")
        assert shown is not None
        assert (shown.condition.allowed, shown.workers, shown.recent[-1].refused) == (4.0, 2, 1)
        assert await stores[2].show("s3") is None
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await stores[2].exchange("c", {"s1": report})


async def test_sources_that_are_left_alone_or_give_nothing_good_are_known_together(
    database: Database,
) -> None:
    async with (
        await open_pool(database.dsn_for("puller"), wait=10) as writing,
        await open_pool(database.dsn_for("gateway"), wait=10) as reading,
    ):
        reports = {
            "alone": Seen(good=9, held_for=3600.0),
            "failing": Seen(failed=2),
            "refusing": Seen(good=1, refused=8),
            "well": Seen(good=1),
            "unused": Seen(),
        }
        store, seen = ConditionStore(writing), ConditionStore(reading)
        await store.exchange("a", {name: Report(Bounds(8), each, 1) for name, each in reports.items()})
        assert sorted(await seen.troubled()) == ["alone", "failing"]
        await store.exchange("a", {"failing": Report(Bounds(8), Seen(good=1), 1)})
        assert await seen.troubled() == ["alone"]
