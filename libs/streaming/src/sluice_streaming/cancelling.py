"""Telling a task's own cancellation from that of something it waited for; both look the same to `except`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

from aiokafka.errors import KafkaError


def being_cancelled() -> bool:
    """Say whether it is the running task itself that is being cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def closed(closing: Awaitable[None], seconds: float) -> None:
    """Wait for an aiokafka client to close, at most that long, whatever it meets on the way.

    aiokafka's `stop` cancels tasks of its own and, if one had not begun yet, lets their cancellation out.
    """
    try:
        with suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(seconds):
                await closing
    except asyncio.CancelledError:
        if being_cancelled():
            raise
