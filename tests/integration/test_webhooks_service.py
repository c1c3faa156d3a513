"""The webhooks service on a real Postgres: what is wanted is told, once if that is enough, and else again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from sluice_contracts.events import Event, JobKind, JobPlanned
from sluice_contracts.topics import JOBS_EVENTS
from sluice_storage.pool import open_pool
from sluice_streaming.messages import Message
from sluice_streaming.outcomes import Fenced
from sluice_streaming.service import Context
from sluice_webhooks.__main__ import serve
from sluice_webhooks.postgres import PostgresWebhooks
from sluice_webhooks.sending import ATTEMPTS
from sluice_webhooks.settings import Settings
from sluice_webhooks.store import Attempt
from support.gateway_memory import SECRET
from support.histories import failed, job_number
from support.stack import Database
from support.webhook_bed import DAY, OWN, Bed, finished, later, made_bed, planned
from support.webhook_receiver import Receiver, receiver


@pytest.fixture
async def bed(database: Database) -> AsyncIterator[Bed]:
    async with made_bed(database) as found:
        yield found


def attempts(outcome: str) -> float:
    return next(iter(ATTEMPTS.labels(outcome).collect())).samples[0].value


def types(to: Receiver) -> list[str]:
    return [message["type"] for message in to.taken]


async def test_a_client_is_told_of_its_jobs_and_of_what_it_asked_for(bed: Bed) -> None:
    mine, theirs = job_number(1), job_number(2)
    before = attempts("delivered")
    async with receiver() as usual, receiver() as items:
        await bed.register(usual)
        await bed.register(items, types=["item.failed"])
        await bed.fold(planned(mine), planned(theirs, client="other"))
        await bed.fold(failed(mine, 1, later()), failed(theirs, 0, later()))
        await bed.fold(finished(mine), finished(theirs))
        await bed.send()
    assert sorted(types(usual)) == ["job.finished", "job.planned"]
    assert types(items) == ["item.failed"]
    assert {message["data"]["job"] for message in [*usual.taken, *items.taken]} == {mine}
    assert items.taken[0]["data"]["item"] == 1
    assert attempts("delivered") == before + 3


async def test_what_happened_before_a_webhook_was_registered_is_not_told(bed: Bed) -> None:
    job = job_number(1)
    async with receiver() as to:
        bed_now = datetime.now(UTC).timestamp()
        webhook = await bed.register(to)
        old = JobPlanned(
            job=job,
            at=bed_now - 3600,
            kind=JobKind.BULK_EXPORT,
            client="portal",
            subject="portal",
            submitted_at=bed_now - 3600,
            items=1,
        )
        await bed.fold(old)
        await bed.fold(finished(job))
        await bed.send()
        assert [it["type"] for it in await bed.deliveries(webhook)] == ["job.finished"]


async def test_of_two_that_fold_the_same_span_one_is_fenced_off(bed: Bed) -> None:
    async with receiver() as to:
        webhook = await bed.register(to)
        one, other = bed.folding(), bed.folding()
        assert await one.positions([0]) == await other.positions([0]) == {0: 0}
        await bed.broker.publish(Message(JOBS_EVENTS, job_number(1), planned(job_number(1))))
        span = bed.broker.records(JOBS_EVENTS.name)
        await one.apply(span)
        with pytest.raises(Fenced):
            await other.apply(span)
        assert len(await bed.deliveries(webhook)) == 1


async def test_places_in_the_log_of_another_kafka_are_not_taken_for_this_ones(
    bed: Bed, database: Database
) -> None:
    await bed.fold(planned(job_number(1)))
    pool = await open_pool(database.dsn_for("webhooks"), size=1)
    try:
        before = await PostgresWebhooks(pool, "one").positions(JOBS_EVENTS.name, [0])
        assert before[0] > 0
        assert await PostgresWebhooks(pool, "one").positions(JOBS_EVENTS.name, [0]) == before
        assert await PostgresWebhooks(pool, "two").positions(JOBS_EVENTS.name, [0]) == {0: 0}
    finally:
        await pool.close()


async def rotated(bed: Bed, webhook: str, overlap: float) -> str:
    answer = await bed.site.post(
        f"/v2/webhooks/{webhook}/actions/rotate-secret",
        json={"overlap_hours": overlap},
        headers=bed.site.bearer(**OWN),
    )
    shown = await answer.json()
    assert answer.status == 200, shown
    assert (await bed.get(webhook))["previous_secret_until"] == shown["previous_secret_until"]
    assert (shown["previous_secret_until"] is not None) is (overlap > 0)
    return str(shown["secret"])


async def verified(bed: Bed, to: Receiver, webhook: str, secret: str) -> bool:
    """Say whether a receiver that knows this secret takes what it is sent."""
    to.secret = secret
    path = f"/v2/webhooks/{webhook}/actions/ping"
    delivery = (await (await bed.site.post(path, headers=bed.site.bearer(**OWN))).json())["id"]
    await bed.send()
    return bool((await bed.get(f"{webhook}/deliveries/{delivery}"))["state"] == "delivered")


async def test_a_rotated_secret_counts_beside_the_new_one_until_its_time_is_over(bed: Bed) -> None:
    async with receiver() as to:
        webhook = await bed.register(to)
        first = to.secret
        second = await rotated(bed, webhook, overlap=2)
        assert await verified(bed, to, webhook, first)
        assert await verified(bed, to, webhook, second)
        third = await rotated(bed, webhook, overlap=2)
        assert not await verified(bed, to, webhook, first), "two count at most"
        assert await verified(bed, to, webhook, second)
        fourth = await rotated(bed, webhook, overlap=0)
        assert not await verified(bed, to, webhook, third)
        assert await verified(bed, to, webhook, fourth)


async def test_an_event_that_is_read_twice_is_delivered_once(bed: Bed) -> None:
    job = job_number(1)
    async with receiver() as to:
        webhook = await bed.register(to)
        await bed.fold(planned(job), planned(job))
        await bed.fold(planned(job), finished(job), finished(job))
        await bed.send()
        await bed.send()
        assert sorted(types(to)) == ["job.finished", "job.planned"]
        assert len(await bed.deliveries(webhook)) == 2


@pytest.mark.parametrize("status", [500, 404, 302])
async def test_what_is_not_taken_is_tried_again_under_the_same_id_until_it_is(bed: Bed, status: int) -> None:
    job = job_number(1)
    async with receiver(statuses=[status, status]) as to:
        webhook = await bed.register(to)
        await bed.fold(planned(job))
        await bed.send()
        (waiting,) = await bed.deliveries(webhook)
        assert (waiting["state"], waiting["status"], waiting["attempts"]) == ("waiting", status, 1)
        await bed.send()
        assert len(to.ids) == 1  # not before its time
        for _ in range(2):
            bed.ahead += timedelta(minutes=1)
            await bed.send()
        (done,) = await bed.deliveries(webhook)
    assert (done["state"], done["attempts"], done["status"]) == ("delivered", 3, 204)
    assert to.ids == [waiting["message"]] * 3
    assert len(to.taken) == 1


async def test_a_webhook_that_takes_nothing_for_a_day_is_disabled_with_a_note(bed: Bed) -> None:
    first, second = job_number(1), job_number(2)
    async with receiver(always=503) as to:
        webhook = await bed.register(to)
        await bed.fold(planned(first))
        await bed.send()
        bed.ahead = DAY - timedelta(hours=1)
        await bed.fold(planned(second))
        await bed.send()
        bed.ahead = DAY + timedelta(minutes=1)
        await bed.send()
        shown = await bed.get(webhook)
        assert shown["enabled"] is False
        assert "took nothing" in shown["note"]
        assert [it["state"] for it in await bed.deliveries(webhook)] == ["failed", "failed"]
        sent = len(to.ids)
        await bed.fold(finished(first))
        await bed.send()
        assert len(to.ids) == sent
        # Its owner mends it and has what was lost sent again.
        to.always, bed.ahead = 204, timedelta()
        headers = bed.site.bearer(**OWN)
        change = {"enabled": True}
        mended = await bed.site.call("PATCH", f"/v2/webhooks/{webhook}", json=change, headers=headers)
        assert (await mended.json())["note"] is None
        for each in await bed.deliveries(webhook):
            path = f"/v2/webhooks/{webhook}/deliveries/{each['id']}/actions/redeliver"
            assert (await bed.site.post(path, headers=headers)).status == 202
        await bed.send()
        assert {message["data"]["job"] for message in to.taken} == {first, second}


async def test_one_message_that_is_never_taken_disables_nothing_while_others_are(bed: Bed) -> None:
    first, second = job_number(1), job_number(2)
    async with receiver(statuses=[400]) as to:
        webhook = await bed.register(to)
        await bed.fold(planned(first))
        await bed.send()
        await bed.fold(planned(second))
        await bed.send()
        bed.ahead = DAY + timedelta(minutes=1)
        to.statuses = [400]
        await bed.send()
        states = [it["state"] for it in await bed.deliveries(webhook)]
        assert states == ["failed", "delivered"]
        assert (await bed.get(webhook))["enabled"] is True


async def test_an_endpoint_that_is_gone_is_disabled_at_once(bed: Bed) -> None:
    async with receiver(always=410) as to:
        webhook = await bed.register(to)
        await bed.fold(planned(job_number(1)))
        await bed.send()
        shown = await bed.get(webhook)
    assert (shown["enabled"], "410" in shown["note"]) == (False, True)


async def test_who_does_not_answer_is_tried_again_and_its_address_is_in_no_answer(bed: Bed) -> None:
    async with receiver() as to:
        webhook = await bed.register(to)
    await bed.fold(planned(job_number(1)))
    await bed.send()
    (waiting,) = await bed.deliveries(webhook)
    assert (waiting["state"], waiting["status"]) == ("waiting", None)
    assert waiting["error"] == "source_unavailable"


async def test_a_delivery_whose_sender_died_is_made_by_another(bed: Bed) -> None:
    async with receiver() as to:
        webhook = await bed.register(to)
        await bed.fold(planned(job_number(1)))
        claimed = await bed.store.claim(bed.now(), bed.now() + timedelta(minutes=2), 10, [], {})
        assert len(claimed) == 1
        await bed.send()
        assert to.ids == []
        bed.ahead = timedelta(minutes=3)
        await bed.send()
        assert [it["state"] for it in await bed.deliveries(webhook)] == ["delivered"]
        # The dead one's last word, should it come, changes nothing.
        await bed.store.postpone(claimed[0], Attempt(status=500), bed.now())
        assert [it["state"] for it in await bed.deliveries(webhook)] == ["delivered"]


async def test_what_is_old_is_forgotten_and_what_waits_is_not(bed: Bed) -> None:
    async with receiver(statuses=[204, 500]) as to:
        webhook = await bed.register(to)
        await bed.fold(planned(job_number(1)))
        await bed.send()
        await bed.fold(planned(job_number(2)))
        await bed.send()
        await bed.store.forget(bed.now() + DAY, bed.now() + DAY)
        assert [it["state"] for it in await bed.deliveries(webhook)] == ["waiting"]
        assert await bed.site.admin.fetchval("SELECT count(*) FROM webhooks.jobs") == 0


async def test_the_whole_service_tells_what_is_published_while_it_runs(bed: Bed, database: Database) -> None:
    job = job_number(1)
    settings = Settings(postgres=database.dsn_for("webhooks"), secret=SECRET, loopback_sources=True)
    context = Context("webhooks")
    async with receiver() as to:
        await bed.register(to)
        told: Sequence[Event] = (planned(job), finished(job))
        running = asyncio.create_task(serve(context, settings, bed.broker, every=0.05))
        await bed.broker.publish(*(Message(JOBS_EVENTS, job, event) for event in told))
        await to.until(2)
        context.stop.set()
        await running
    assert sorted(types(to)) == ["job.finished", "job.planned"]
