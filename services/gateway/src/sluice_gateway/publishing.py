"""Putting commands on Kafka, so that either the caller hears that it happened or it did not."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from sluice_contracts.commands import (
    CancelBulkExport,
    CancelBulkImport,
    CancelDocumentImport,
    Command,
    ExpireJob,
    StartBulkExport,
    StartBulkImport,
    StartDocumentImport,
)
from sluice_contracts.topics import (
    JOBS_BULK_EXPORT,
    JOBS_BULK_IMPORT,
    JOBS_DOCUMENT_IMPORT,
    JOBS_EXPIRE,
    Topic,
)
from sluice_gateway.problems import Problem, unavailable
from sluice_streaming.backend import Producer
from sluice_streaming.messages import Message
from sluice_streaming.outcomes import Unavailable
from sluice_telemetry.spans import Kind, within
from sluice_telemetry.subject import about

log = structlog.get_logger(__name__)

_WITHDRAWALS = 20
Start = StartDocumentImport | StartBulkExport | StartBulkImport
Cancel = CancelDocumentImport | CancelBulkExport | CancelBulkImport


class Commands:
    """Publishes job commands.

    Parameters
    ----------
    producer
        To Kafka.
    patience
        Seconds that a client is let wait for the acknowledgement.
    """

    def __init__(self, producer: Producer, *, patience: float = 10.0) -> None:
        self._producer = producer
        self._patience = patience
        self._started = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def connected(self) -> bool:
        """Whether the producer has reached Kafka since the start."""
        return self._started.is_set()

    async def connect(self) -> None:
        """Start the producer, waiting for Kafka as long as that takes."""
        await self._producer.start()
        self._started.set()

    async def start(self, command: Start, *, withdraw: bool) -> None:
        """Publish the record that is a job's acceptance.

        Parameters
        ----------
        withdraw
            After a failure, follow the record with a cancellation: it may have reached Kafka all the same,
            and a client that was told 503 must not find its import done later.

        Raises
        ------
        Problem
            503: it was not acknowledged; 413: Kafka does not take records of this size.
        """
        try:
            await self._publish(command)
        except Problem as problem:
            if withdraw and problem.status == 503 and self.connected:
                self.later(self._withdraw(command))
            raise

    async def cancel(self, job: str, command: Cancel) -> None:
        """Publish a cancellation; raises as `start` does."""
        if job != command.job:
            raise ValueError("the command is another job's")
        await self._publish(command)

    async def expire(self, command: ExpireJob) -> None:
        """Publish that a job's content has to go; raises as `start` does."""
        await self._publish(command)

    def later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something after the answer; what goes wrong with it is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    async def close(self) -> None:
        """Wait a little for what is still to be done, and disconnect."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5.0)
        for task in tuple(self._tasks):
            task.cancel()
        if self.connected:
            await self._producer.stop()

    async def _publish(self, command: Start | Cancel | ExpireJob) -> None:
        about(command.job)
        if not self.connected:
            raise unavailable("its message log")
        message = Message(topic=_topic(command), key=command.job, body=command)
        try:
            with within(f"{message.topic.name} publish", Kind.PRODUCER):
                async with asyncio.timeout(self._patience):
                    await self._producer.publish([message])
        except (Unavailable, TimeoutError):
            raise unavailable("its message log") from None
        except ValueError:
            raise Problem(
                413, "too_large", "The request is too large as one job.", "Split it into several."
            ) from None

    async def _withdraw(self, start: Start) -> None:
        job = start.job
        cancel: Cancel
        if isinstance(start, StartBulkExport):
            cancel = CancelBulkExport(job=job)
        elif isinstance(start, StartBulkImport):
            cancel = CancelBulkImport(job=job)
        else:
            cancel = CancelDocumentImport(job=job)
        # Same key, so same partition: whatever became of the start, this comes after it.
        message = Message(topic=_topic(start), key=job, body=cancel)
        for attempt in range(_WITHDRAWALS):
            try:
                await self._producer.publish([message])
            except Unavailable:
                await asyncio.sleep(min(0.5 * 2**attempt, 15.0))
            else:
                log.info("a job that was not accepted is withdrawn", job=job)
                return
        log.warning("a job that was not accepted could not be withdrawn", job=job)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("work after an answer failed", error=type(error).__name__)


def _topic(command: Command) -> Topic:
    if isinstance(command, ExpireJob):
        return JOBS_EXPIRE
    if isinstance(command, StartBulkImport | CancelBulkImport):
        return JOBS_BULK_IMPORT
    exports = isinstance(command, StartBulkExport | CancelBulkExport)
    return JOBS_BULK_EXPORT if exports else JOBS_DOCUMENT_IMPORT
