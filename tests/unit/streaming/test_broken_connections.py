"""A connection that is gone is an error aiokafka knows, under uvloop as under asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from sluice_streaming.faults import closed


class ClosedTransport:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def write(self, _data: bytes) -> None:
        raise self._error

    def close(self) -> None:
        """Be closed already."""


@pytest.mark.parametrize("error", [RuntimeError("the handler is closed"), BrokenPipeError()])
async def test_writing_to_a_closed_transport_is_a_connection_error(error: Exception) -> None:
    connection: Any = AIOKafkaConnection("127.0.0.1", 9092)
    connection._writer, connection._reader = ClosedTransport(error), asyncio.StreamReader()
    connection._read_task = asyncio.create_task(asyncio.sleep(0))
    connection._versions = {3: (0, 1)}
    with pytest.raises(KafkaConnectionError):
        connection.send(MetadataRequest([]))
    assert not connection.connected(), "and the connection is not used again"


async def test_closing_a_client_survives_what_it_meets() -> None:
    errors = [OSError(), RuntimeError(), KafkaConnectionError(), asyncio.CancelledError()]
    met: list[BaseException] = []

    async def stop(error: BaseException) -> None:
        met.append(error)
        raise error

    for error in errors:
        await closed(stop(error), 1.0)
    assert met == errors
    endless = asyncio.ensure_future(asyncio.Event().wait())
    await closed(endless, 0.01)  # type: ignore[arg-type]
    assert endless.cancelled()


async def test_closing_a_client_does_not_hide_our_own_cancellation() -> None:
    task = asyncio.create_task(closed(asyncio.sleep(60), 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
