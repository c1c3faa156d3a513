"""Writes parts: one command, the files of one part, one transaction that lists them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

import structlog

from sluice_contracts.commands import WritePart
from sluice_contracts.errors import ItemError
from sluice_contracts.events import ItemCancelled, ItemFailed, ItemRetrying, PartSealed, Stage
from sluice_contracts.exports import FileKind
from sluice_exporter.pieces import Pieces
from sluice_exporter.plan import JobFacts, PartKind, PartPlan, SealedPart, is_job_id
from sluice_exporter.planning import event, known_code
from sluice_exporter.sink import FileLimits, Objects, Sink
from sluice_exporter.store import Parts
from sluice_storage.exports.objects import ObjectStoreError
from sluice_storage.pool import TRANSIENT
from sluice_streaming.messages import Delivery, Message, Record
from sluice_streaming.outcomes import Failure, Reject, Unavailable

log = structlog.get_logger(__name__)

LOOK_EVERY = 1.0
"""Seconds after which a part that is being written looks whether its job still wants it."""

_KINDS = {PartKind.DELETED: FileKind.DELETED, PartKind.IGNORED: FileKind.ERROR}
# A transaction Bundle is what the manifest's `deleted` lists, whatever was deleted.
_BUNDLE = "Bundle"


class _StoppedError(Exception):
    """The job was cancelled or deleted while its part was written."""


class Writing:
    """Handles `bulk-export.parts`.

    Parameters
    ----------
    parts
        Parts and their files.
    pieces
        What files are made of.
    objects
        Where files go.
    limits
        When a file is ended.
    clock
        Unix seconds.
    ticks
        Seconds of a clock that never goes back.
    attempts
        Gives names that it never gave before.
    """

    def __init__(
        self,
        parts: Parts,
        pieces: Pieces,
        objects: Objects,
        limits: FileLimits,
        *,
        clock: Callable[[], float],
        ticks: Callable[[], float],
        attempts: Callable[[], str],
    ) -> None:
        self._parts = parts
        self._pieces = pieces
        self._objects = objects
        self._limits = limits
        self._clock = clock
        self._ticks = ticks
        self._attempts = attempts

    async def handle(self, delivery: Delivery[WritePart]) -> Sequence[Message]:
        """Write the part's files and list them, unless they are listed already.

        Each attempt writes files of its own; the first that comes to list them wins, and all others are
        removed. So a part may be delivered again at any time, also while it is being written.

        Raises
        ------
        Reject
            There is no such part.
        Unavailable
            The database or the object store is away.
        """
        command = delivery.command
        job, part = command.job, command.item
        waiting = await self._parts.find(job, part) if is_job_id(job) and part >= 0 else None
        if waiting is None:
            raise Reject(ItemError.INTERNAL)
        if waiting.stopped:
            return (self._cancelled(command),)
        if waiting.facts is None or waiting.plan is None:
            raise Reject(ItemError.INTERNAL)
        sealed = waiting.sealed
        try:
            if sealed is None:
                sealed = await self._write(waiting.facts, part, waiting.plan)
        except _StoppedError:
            return (self._cancelled(command),)
        except ObjectStoreError:
            raise Unavailable("objects") from None
        except TRANSIENT:
            raise Unavailable("postgres") from None
        return (event(_told(command, waiting.plan, sealed)),)

    def on_dead(self, subject: Delivery[WritePart] | Record, failure: Failure) -> Sequence[Message]:
        """Fail the part of a command that is given up."""
        command = subject.command if isinstance(subject, Delivery) else _command_of_key(subject.key)
        if command is None:
            return ()
        failed = ItemFailed(
            job=command.job,
            at=self._clock(),
            item=command.item,
            stage=Stage.EXPORT,
            code=known_code(failure.code),
        )
        return (event(failed),)

    def on_retry(self, delivery: Delivery[WritePart], failure: Failure) -> Sequence[Message]:
        """Say that the part waits to be tried again."""
        if failure.due is None:
            return ()
        retrying = ItemRetrying(
            job=delivery.command.job,
            at=self._clock(),
            item=delivery.command.item,
            stage=Stage.EXPORT,
            code=known_code(failure.code),
            attempt=failure.attempt,
            due=failure.due,
        )
        return (event(retrying),)

    async def _write(self, facts: JobFacts, part: int, plan: PartPlan) -> SealedPart:
        attempt = self._attempts()
        sink = self._sink(facts, part, plan, attempt)
        try:
            await self._fill(sink, facts, plan)
            files = await sink.finish()
        except BaseException:
            await self._abandon(sink)
            raise
        # If this fails nobody knows whether the files are listed: they stay, until the next attempt tidies.
        sealed = await self._parts.seal(facts.job, part, files, datetime.fromtimestamp(self._clock(), UTC))
        if sealed is None:
            await self._abandon(sink)
            raise _StoppedError
        await self._tidy(facts.job, part)
        return sealed

    def _sink(self, facts: JobFacts, part: int, plan: PartPlan, attempt: str) -> Sink:
        type_ = plan.type or None
        return Sink(
            self._objects,
            facts.job,
            part,
            attempt,
            kind=_KINDS.get(plan.kind, FileKind.OUTPUT),
            type_=_BUNDLE if plan.kind is PartKind.DELETED else type_,
            limits=self._limits,
        )

    async def _fill(self, sink: Sink, facts: JobFacts, plan: PartPlan) -> None:
        looked = self._ticks()
        async with aclosing(self._pieces.of(facts, plan)) as pieces:
            async for piece in pieces:
                if piece.count:
                    await sink.write(piece)
                if self._ticks() - looked >= LOOK_EVERY:
                    looked = self._ticks()
                    if await self._parts.stopped(facts.job):
                        raise _StoppedError

    async def _abandon(self, sink: Sink) -> None:
        try:
            await sink.abandon()
        except ObjectStoreError as error:
            # They are listed nowhere, and go with the job.
            log.warning("files of an attempt stay for now", error=type(error).__name__)

    async def _tidy(self, job: str, part: int) -> None:
        """Remove what other attempts at the part have left: killed ones, or those that came second."""
        listed = await self._parts.keys(job, part)
        try:
            left = [key for key in await self._objects.keys(job, part) if key not in listed]
            await self._objects.remove(left)
        except ObjectStoreError as error:
            log.warning("files of other attempts stay for now", error=type(error).__name__)

    def _cancelled(self, command: WritePart) -> Message:
        return event(ItemCancelled(job=command.job, at=self._clock(), item=command.item))


def _told(command: WritePart, plan: PartPlan, sealed: SealedPart) -> PartSealed:
    return PartSealed(
        job=command.job,
        at=sealed.at.timestamp(),
        item=command.item,
        resource_type=plan.type,
        files=sealed.files,
        count=sealed.count,
        size=sealed.size,
    )


def _command_of_key(key: bytes | None) -> WritePart | None:
    """Give what a command that cannot be decoded was about, by its key (`job/item`)."""
    job, _, item = (key or b"").decode("ascii", "replace").rpartition("/")
    if not (is_job_id(job) and item.isdigit() and len(item) < 10):
        return None
    return WritePart(job=job, item=int(item))
