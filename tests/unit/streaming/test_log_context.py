"""Every line that is logged while a message is handled says of which job, item and trace it is."""

from __future__ import annotations

import json
import subprocess
import sys

JOB = "6a0c5f0e-0000-4000-8000-000000000001"
TRACE = "a" * 32
PROGRAM = """
import asyncio, logging, structlog
from sluice_contracts.commands import FetchDocuments
from sluice_contracts.topics import DOCUMENT_FETCH
from sluice_streaming.clock import ManualClock
from sluice_streaming.limits import Limits
from sluice_streaming.memory import MemoryBroker
from sluice_streaming.messages import Message
from sluice_streaming.outcomes import Reject
from sluice_streaming.step import Step
from sluice_streaming.worker import Worker
from sluice_telemetry.logs import configure_logging
from sluice_telemetry.trace import Trace, tracing

configure_logging("tested")
stop = asyncio.Event()


async def deeper():
    structlog.get_logger("sluice_domain").info("in a task")


async def handle(delivery):
    structlog.get_logger("sluice_domain").info("in the handler")
    await asyncio.create_task(deeper())
    logging.getLogger("library").warning(f"in a library {delivery.command.items[0]}")
    if delivery.command.items[0] == 1:
        int("Jane Doe")
    if delivery.command.items[0] == 2:
        stop.set()
        raise Reject("document_gone")
    return ()


async def main():
    backend = MemoryBroker()
    producer = backend.producer()
    await producer.start()
    with tracing(Trace("a" * 32, "b" * 16)):
        for item in range(3):
            command = FetchDocuments(job="6a0c5f0e-0000-4000-8000-000000000001", items=(item,))
            await producer.publish([Message(DOCUMENT_FETCH, f"j/{item}", command)])
    worker = Worker(backend, "tested", [Step(topic=DOCUMENT_FETCH, handle=handle)], concurrency=1,
                    clock=ManualClock(1_700_000_000.0), limits=Limits(commit_every=0.01))
    await worker.run(stop)


asyncio.run(main())
"""


def test_every_line_of_a_handler_names_its_job_item_and_trace_and_no_data() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert "Jane" not in done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    ours = {"in the handler", "in a task", "handler failed", "dead letter"}
    library = {f"in a library {item}": item for item in range(3)}
    found = [line for line in lines if line["event"] in {*ours, *library}]
    assert {line["event"] for line in found} == {*ours, *library}
    assert {(line["job"], line["trace"]) for line in found} == {(JOB, TRACE)}
    assert {line["event"]: line["item"] for line in found if line["event"] in library} == library
    assert [line["item"] for line in found if line["event"] == "handler failed"] == [1]
    assert [line["item"] for line in found if line["event"] == "dead letter"] == [2]
    # A line that is nobody's says so.
    assert all("job" not in line for line in lines if line["event"] == "working")
