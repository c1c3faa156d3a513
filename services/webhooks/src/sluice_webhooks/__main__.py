"""`python -m sluice_webhooks`: tells clients of their jobs by signed webhooks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sluice_contracts.topics import JOBS_EVENTS
from sluice_security.http import GuardedClient
from sluice_security.http_limits import HttpLimits
from sluice_security.sealing import Seal
from sluice_storage.pool import open_pool
from sluice_streaming.backend import Backend
from sluice_streaming.fold import Fold
from sluice_streaming.rounds import repeat
from sluice_streaming.service import Context, run
from sluice_webhooks.folding import Folding
from sluice_webhooks.postgres import PostgresWebhooks
from sluice_webhooks.sending import Sending
from sluice_webhooks.settings import Settings

GROUP = "webhooks"
_LOOK_SECONDS = 1.0
_FORGET_SECONDS = 600.0
# Under load, from one span of events to the next: each is a transaction, and nobody waits for it. Seconds.
_PACE = 0.25
# Events of a job come for as long as the topic keeps them.
_JOBS_KEPT = timedelta(days=90)


def utc_now() -> datetime:
    """Give the time."""
    return datetime.now(UTC)


async def main(context: Context) -> None:
    """Wire the service to Kafka and Postgres and run it until it is asked to stop."""
    settings = Settings()
    await serve(context, settings, settings.backend())


async def serve(
    context: Context,
    settings: Settings,
    backend: Backend,
    *,
    now: Callable[[], datetime] = utc_now,
    every: float = _LOOK_SECONDS,
) -> None:
    """Run the service over `backend` until `context.stop` is set; look every so many seconds what is due."""
    pool = await context.starting(open_pool(settings.postgres, size=8, application="sluice-webhooks"))
    try:
        store = PostgresWebhooks(pool, await context.starting(backend.cluster()))
        await _work(context, settings, backend, store, now=now, every=every)
    except ExceptionGroup as faults:
        # The supervisor tells faults apart by their type; the first one is the cause.
        raise faults.exceptions[0] from faults
    finally:
        await pool.close()


async def _work(
    context: Context,
    settings: Settings,
    backend: Backend,
    store: PostgresWebhooks,
    *,
    now: Callable[[], datetime],
    every: float,
) -> None:
    wake = asyncio.Event()
    folding = Folding(store, settings.patience, now, wake.set)
    fold = Fold(
        backend, GROUP, JOBS_EVENTS, folding.positions, folding.apply, pace=_PACE, stuck=settings.stuck
    )
    context.watch(fold.ready)
    limits = HttpLimits(answer=settings.webhook_timeout, read_idle=settings.webhook_timeout)
    async with GuardedClient(
        limits=limits, loopback=settings.loopback_sources, networks=settings.networks
    ) as client:
        sending = Sending(store, client, Seal(settings.secrets, "webhooks"), now)

        async def send() -> None:
            await sending.turn(context.stop)

        async def forget() -> None:
            await store.forget(now() - settings.keep, now() - _JOBS_KEPT)

        async with asyncio.TaskGroup() as group:
            group.create_task(fold.run(context.stop))
            group.create_task(repeat(context.stop, every, send, "delivering", wake=wake))
            group.create_task(repeat(context.stop, _FORGET_SECONDS, forget, "forgetting"))


if __name__ == "__main__":
    run("webhooks", main)
