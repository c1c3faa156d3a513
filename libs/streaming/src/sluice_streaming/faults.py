"""What calls of aiokafka may meet when connections break, and how its clients are closed all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

from aiokafka.errors import KafkaError

from sluice_streaming.cancelling import being_cancelled

FAULTS = (KafkaError, OSError, RuntimeError)
"""aiokafka's own errors, the system's, and uvloop's RuntimeError about a transport that is closed already,
which aiokafka does not expect: it ends whatever background task meets it."""


async def closed(closing: Awaitable[None], seconds: float) -> None:
    """Wait for an aiokafka client to close, at most that long, whatever it meets on the way.

    aiokafka's `stop` cancels tasks of its own and, if one had not begun yet, lets their cancellation out.
    """
    try:
        with suppress(*FAULTS):
            async with asyncio.timeout(seconds):
                await closing
    except asyncio.CancelledError:
        if being_cancelled():
            raise
