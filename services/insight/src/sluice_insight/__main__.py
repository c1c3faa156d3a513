"""`python -m sluice_insight`: watches `jobs.events` with Faust."""

from __future__ import annotations

import asyncio

from prometheus_client import REGISTRY

from sluice_contracts.topics import CHANGELOGS, INSIGHT_ALERTS, JOBS_EVENTS
from sluice_insight.app import GROUP, Insight
from sluice_insight.metrics import Tables
from sluice_insight.settings import Settings
from sluice_insight.starting import until_there
from sluice_streaming.faults import closed
from sluice_streaming.outcomes import Unavailable
from sluice_streaming.service import Context, run
from sluice_streaming.topics_lag import survey
from sluice_streaming.watchdog import Watchdog

_LOOK_EVERY = 10.0
_STOP_SECONDS = 15.0


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
        asyncio.create_task(_serve(context, insight)),
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
        # Without Kafka, or with a consumer that has died, it would wait without end.
        await closed(insight.app.stop(), _STOP_SECONDS)


async def _serve(context: Context, insight: Insight) -> None:
    """Start, which restores the tables, and run until Faust has crashed."""
    app = insight.app
    await app.start()
    context.watch(lambda: _ready(insight))
    await app.wait_until_stopped()
    raise RuntimeError("Faust has crashed") from app.crash_reason


def _ready(insight: Insight) -> bool | str:
    # Faust itself says nothing of a broker that is away.
    if insight.cut_off:
        return "waiting for kafka"
    return "rebalancing" if insight.app.rebalancing else True


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
            insight.cut_off = False
            watchdog.check(topic.groups.get(GROUP, topic.records), busy=0)
        except Unavailable:
            insight.cut_off = True
            watchdog.progress()
        await asyncio.sleep(_LOOK_EVERY)


if __name__ == "__main__":
    run("insight", main)
