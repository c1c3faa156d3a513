"""What calls of aiokafka may meet when connections break, and how its clients are closed all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError

from sluice_streaming.cancelling import being_cancelled

FAULTS = (KafkaError, OSError, RuntimeError)
"""aiokafka's own errors, the system's, and what else ended one of its background tasks."""

_send = AIOKafkaConnection.send


def _send_or_say_so(connection: Any, request: Any, expect_response: bool = True) -> Any:
    """Send a request; a connection that is gone is a Kafka error, also where uvloop calls it otherwise.

    Writing to a transport that was closed raises RuntimeError under uvloop and nothing under asyncio.
    aiokafka expects OSError alone (aio-libs/aiokafka issue 1038), so a broker that goes away at the wrong
    moment would end its background tasks, the refreshing of metadata included, and nothing revives those.
    """
    try:
        return _send(connection, request, expect_response)
    except RuntimeError as error:
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError("the connection was closed") from error


AIOKafkaConnection.send = _send_or_say_so


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
