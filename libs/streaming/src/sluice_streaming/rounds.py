"""Rounds: what a service looks for by its clock, beside what it is asked for by command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from sluice_streaming.outcomes import Unavailable
from sluice_telemetry.logs import describe

log = structlog.get_logger(__name__)


async def repeat(
    stop: asyncio.Event, every: float, take: Callable[[], Awaitable[None]], *, waits: str, fails: str
) -> None:
    """Take rounds until `stop` is set, `every` so many seconds; after one that fails the next tries again.

    Parameters
    ----------
    waits, fails
        What is logged when a round cannot be taken because something is away, or fails otherwise.
    """
    while not stop.is_set():
        try:
            await take()
        except Unavailable as away:
            log.info(waits, what=away.what)
        except Exception as error:
            # What is asked for by command goes on without it.
            log.error(fails, **describe(error))  # noqa: TRY400
        try:
            async with asyncio.timeout(every):
                await stop.wait()
        except TimeoutError:
            continue
