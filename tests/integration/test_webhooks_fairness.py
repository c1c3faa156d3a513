"""However many webhooks hang, of however many clients, others are told meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from sluice_webhooks.store import MOST_OF_ONE
from support.histories import job_number
from support.stack import Database
from support.webhook_bed import OWN, Bed, made_bed, planned
from support.webhook_receiver import receiver

CLIENTS = ("one", "two", "three")
ENDPOINTS = 12


@pytest.fixture
async def bed(database: Database) -> AsyncIterator[Bed]:
    async with made_bed(database, answer=120) as found:
        yield found


async def test_webhooks_that_hang_keep_no_other_of_their_client_waiting(bed: Bed) -> None:
    async with receiver(always=500) as silent, receiver() as other:
        silent.answering.clear()
        hanging = [await bed.register(silent) for _ in range(10)] * MOST_OF_ONE
        for hook in [*hanging, await bed.register(other)]:
            await bed.site.post(f"/v2/webhooks/{hook}/actions/ping", headers=bed.site.bearer(**OWN))
        sending = asyncio.create_task(bed.send())
        await other.until(1)
        silent.answering.set()
        await sending
    assert [message["type"] for message in other.taken] == ["webhook.ping"]


async def test_clients_whose_webhooks_all_hang_keep_no_other_client_waiting(bed: Bed) -> None:
    async with receiver(always=500) as silent, receiver() as other:
        silent.answering.clear()
        for client in CLIENTS:
            for _ in range(ENDPOINTS):
                await bed.register(silent, client)
        # More than there are places for.
        jobs = [(client, job_number(n)) for n, client in enumerate(CLIENTS * MOST_OF_ONE)]
        await bed.fold(*(planned(job, client=client) for client, job in jobs))
        sending = asyncio.create_task(bed.send())
        await silent.until(90)
        await bed.register(other, "late")
        await bed.fold(planned(job_number(99), client="late"))
        await other.until(1)
        silent.answering.set()
        await sending
    assert [message["data"]["job"] for message in other.taken] == [job_number(99)]


async def test_places_are_shared_by_the_clients_that_want_them_and_a_share_is_left(bed: Bed) -> None:
    async with receiver() as to:
        for client in CLIENTS:
            for _ in range(ENDPOINTS):
                await bed.register(to, client)
        jobs = [(client, job_number(n)) for n, client in enumerate(CLIENTS * MOST_OF_ONE)]
        await bed.fold(*(planned(job, client=client) for client, job in jobs))

        async def claimed(free: int, **held: int) -> Counter[str]:
            now = bed.now()
            # Due again at once, so that each claim finds the same.
            return Counter(due.client for due in await bed.store.claim(now, now, free, [], held))

        assert await claimed(40) == dict.fromkeys(CLIENTS, 10)
        assert await claimed(25, one=15) == {"two": 8, "three": 8}
        assert await claimed(20, one=10, two=10, three=0) == {"three": 10}
        assert await claimed(1, one=60, two=60, three=7) == {}
        assert sum((await claimed(1)).values()) == 1
        bed.ahead = timedelta(seconds=1)
        assert (await claimed(0, one=60)) == {}
