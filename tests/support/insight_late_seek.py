"""`python -m support.insight_late_seek`: insight whose library takes its time to seek where it goes on."""

from __future__ import annotations

import asyncio
import runpy

from faust.transport.consumer import Consumer

# For up to a second it looks for nothing yet; then it reads, if nobody keeps it from that.
LATE = 1.2

_prompt = Consumer.perform_seek


async def _late(consumer: Consumer) -> None:
    await asyncio.sleep(LATE)
    await _prompt(consumer)


if __name__ == "__main__":
    Consumer.perform_seek = _late  # type: ignore[assignment]
    runpy.run_module("sluice_insight", run_name="__main__", alter_sys=True)
