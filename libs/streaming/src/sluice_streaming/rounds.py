"""Rounds: what a service looks for by its clock, beside what it is asked for by command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from sluice_streaming.outcomes import Unavailable
from sluice_telemetry.logs import describe

log = structlog.get_logger(__name__)


async def repeat(
    stop: asyncio.Event,
    every: float,
    take: Callable[[], Awaitable[None]],
    what: str,
    *,
    wake: asyncio.Event | None = None,
) -> None:
    """Take rounds until `stop` is set, `every` so many seconds; after one that fails the next tries again.

    Parameters
    ----------
    what
        What a round is for, as the log says that it waits for something that is away, or failed otherwise.
    wake
        Set for a round before its time; it is cleared.
    """
    while not stop.is_set():
        try:
            await take()
        except Unavailable as away:
            log.info("a round waits", round=what, away=away.what)
        except Exception as error:
            # What is asked for by command goes on without it.
            log.error("a round failed", round=what, **describe(error))  # noqa: TRY400
        await _pause(stop, every, wake)


async def _pause(stop: asyncio.Event, every: float, wake: asyncio.Event | None) -> None:
    waiting = {asyncio.ensure_future(each.wait()) for each in (stop, wake) if each is not None}
    try:
        await asyncio.wait(waiting, timeout=every, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
    if wake is not None:
        wake.clear()
