"""What has to be there before Faust starts: one that starts without its source topic ignores it for good."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import structlog

from sluice_streaming.outcomes import Unavailable
from sluice_streaming.topics_admin import connected

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 1.0
_PATIENCE = 2.0


async def until_there(bootstrap: str, topics: Collection[str]) -> None:
    """Return when Kafka answers and has these topics, however long that takes."""
    told = False
    while True:
        try:
            async with connected(bootstrap, wait=_PATIENCE) as admin:
                there = {topic["topic"] for topic in await admin.describe_topics()}
            if there.issuperset(topics):
                return
            if not told:
                log.warning("waiting for topics; has `sluice-topics create` been run?")
                told = True
        except Unavailable:
            log.warning("waiting for Kafka")
        await asyncio.sleep(_AGAIN_SECONDS)
