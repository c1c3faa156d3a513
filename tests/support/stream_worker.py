"""A worker process to kill: `python -m support.stream_worker BOOTSTRAP GROUP INBOX OUTBOX INSTANCE`.

Its effect is a line in a file per item, in the folder that is its working directory; its message tells of it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sluice_contracts.commands import WritePart
from sluice_contracts.topics import Topic
from sluice_streaming.kafka import KafkaBackend, KafkaTuning
from sluice_streaming.limits import Limits
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.service import Context, run
from sluice_streaming.step import Step
from sluice_streaming.worker import Worker
from support.streams import SHORT_TIERS


async def main(context: Context) -> None:
    """Run one step until told to stop."""
    bootstrap, group, inbox, outbox, instance = sys.argv[1:6]
    into = Topic(name=inbox, messages=WritePart, key="item", producers=(), consumers=(), retries=SHORT_TIERS)
    out = Topic(name=outbox, messages=WritePart, key="item", producers=(), consumers=())
    effects = Path(f"effects.{os.getpid()}").open("ab", buffering=0)  # noqa: ASYNC230, SIM115 - lives as long as the process

    async def handle(delivery: Delivery[WritePart]) -> Sequence[Message]:
        await asyncio.sleep(0.01)
        effects.write(b"%d\n" % delivery.command.item)
        return (Message(out, f"job/{delivery.command.item}", delivery.command),)

    backend = KafkaBackend(
        bootstrap, instance=instance or None, tuning=KafkaTuning(session=6.0, rebalance=15.0)
    )
    worker = Worker(
        backend, group, [Step(topic=into, handle=handle)], concurrency=8, limits=Limits(commit_every=0.05)
    )
    context.watch(worker.ready)
    await worker.run(context.stop)


if __name__ == "__main__":
    run("stream-worker", main)
