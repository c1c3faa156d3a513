"""`python -m sluice_insight`: watches `jobs.events` with Faust."""

from __future__ import annotations

import asyncio

import faust
from prometheus_client import REGISTRY

from sluice_contracts.topics import CHANGELOGS, INSIGHT_ALERTS, JOBS_EVENTS
from sluice_insight.app import GROUP, Insight
from sluice_insight.metrics import Tables
from sluice_insight.settings import Settings
from sluice_insight.starting import until_there
from sluice_streaming.outcomes import Unavailable
from sluice_streaming.service import Context, run
from sluice_streaming.topics_lag import survey
from sluice_streaming.watchdog import Watchdog

_LOOK_EVERY = 30.0


async def main(context: Context) -> None:
    """Run the application until it is asked to stop, or until it has crashed or stands still."""
    settings = Settings()
    needed = [topic.name for topic in (JOBS_EVENTS, INSIGHT_ALERTS, *CHANGELOGS)]
    await context.starting(until_there(settings.kafka, needed))
    insight = Insight(settings)
    tables = Tables(insight.views)
    REGISTRY.register(tables)
    tasks = [
        asyncio.create_task(context.stop.wait()),
        asyncio.create_task(_serve(context, insight.app)),
        asyncio.create_task(_guard(insight, settings)),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        REGISTRY.unregister(tables)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await insight.app.stop()


async def _serve(context: Context, app: faust.App) -> None:
    """Start, which restores the tables, and run until Faust has crashed."""
    await app.start()
    context.watch(lambda: "rebalancing" if app.rebalancing else True)
    await app.wait_until_stopped()
    raise RuntimeError("Faust has crashed") from app.crash_reason


async def _guard(insight: Insight, settings: Settings) -> None:
    """Raise when records wait and none is folded: Faust goes on running when its consumer has died."""
    watchdog = Watchdog(settings.stuck)
    seen = -1
    while True:
        if insight.records != seen:
            watchdog.progress()
        seen = insight.records
        try:
            (topic,) = await survey(settings.kafka, [JOBS_EVENTS])
            watchdog.check(topic.groups.get(GROUP, topic.records), busy=0)
        except Unavailable:
            watchdog.progress()
        await asyncio.sleep(_LOOK_EVERY)


if __name__ == "__main__":
    run("insight", main)
