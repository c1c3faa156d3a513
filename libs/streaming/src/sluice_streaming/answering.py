"""Whether Kafka answers now."""

from __future__ import annotations

import asyncio

from aiokafka.conn import create_conn

from sluice_streaming.faults import FAULTS

_SECONDS = 1.5


async def answers(bootstrap: str, *, seconds: float = _SECONDS) -> bool:
    """Tell whether any of these `host:port`, separated by commas, says which requests it knows.

    That it takes connections says little: the system does that for a process that stands still, too.
    """
    asked = [_answers(address.strip(), round(seconds * 1000)) for address in bootstrap.split(",")]
    return any(await asyncio.gather(*asked))


async def _answers(address: str, milliseconds: int) -> bool:
    host, _, port = address.rpartition(":")
    try:
        # Connecting is asking what the broker knows, and waiting for that.
        connection = await create_conn(host.strip("[]"), int(port), request_timeout_ms=milliseconds)
    except FAULTS:
        return False
    await connection.close()
    return True
