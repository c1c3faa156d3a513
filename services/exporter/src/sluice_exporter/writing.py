"""Writes parts: one command, the files of one part, one transaction that lists them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from sluice_contracts import events
from sluice_contracts.commands import CancelBulkExport, FailPart, PartCommand
from sluice_contracts.errors import ItemError, item_error
from sluice_contracts.events import ItemFailed, PartSealed, Stage
from sluice_contracts.exports import FileKind
from sluice_contracts.ids import item_key, item_of_key
from sluice_contracts.topics import BULK_EXPORT_PARTS, JOBS_BULK_EXPORT
from sluice_exporter.outcomes import OUTCOME, given_up, ignored
from sluice_exporter.pieces import Pieces
from sluice_exporter.plan import JobFacts, PartKind, PartPlan, SealedFile, SealedPart
from sluice_exporter.sink import FileLimits, Objects, Sink
from sluice_exporter.store import GrantReader, Parts
from sluice_storage.access.covering import still_granted
from sluice_storage.encryption.keys import DataKey, LostKeyError, UnknownMasterKeyError
from sluice_storage.exports.objects import ObjectStoreError
from sluice_storage.pool import TRANSIENT
from sluice_streaming.items import ItemReports, event, is_item
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


class _WithdrawnError(Exception):
    """The job's owner may not see any more what it may hold."""


class Writing:
    """Handles `bulk-export.parts`.

    Parameters
    ----------
    parts
        Parts and their files.
    grants
        Who may see whose data.
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
        grants: GrantReader,
        pieces: Pieces,
        objects: Objects,
        limits: FileLimits,
        *,
        clock: Callable[[], float],
        ticks: Callable[[], float],
        attempts: Callable[[], str],
    ) -> None:
        self._parts = parts
        self._grants = grants
        self._pieces = pieces
        self._objects = objects
        self._limits = limits
        self._clock = clock
        self._ticks = ticks
        self._attempts = attempts
        self._reports = ItemReports(Stage.EXPORT, clock)

    async def handle(self, delivery: Delivery[PartCommand]) -> Sequence[Message]:
        """Write the part's files, or one that says that it failed, and list them unless some are listed.

        Each attempt writes files of its own; the first that comes to list them wins, and all others are
        removed. So a part may be delivered again at any time, also while it is being written.

        An export whose owner may not see any more all that it may hold is cancelled, as if they had done it.

        Raises
        ------
        Reject
            There is no such part.
        Unavailable
            The database, the object store or a master key is away.
        """
        command = delivery.command
        job, part = command.job, command.item
        try:
            waiting = await self._parts.find(job, part) if is_item(command) else None
        except UnknownMasterKeyError:
            raise Unavailable("master key") from None
        except LostKeyError:
            raise Reject(ItemError.INTERNAL) from None
        if waiting is None:
            raise Reject(ItemError.INTERNAL)
        if waiting.stopped:
            return (self._reports.cancelled(command),)
        if waiting.facts is None or waiting.plan is None:
            raise Reject(ItemError.INTERNAL)
        try:
            sealed = waiting.sealed or await self._attempt(
                command, waiting.facts, waiting.plan, waiting.data_key
            )
        except _StoppedError:
            return (self._reports.cancelled(command),)
        except _WithdrawnError:
            log.info("an export is not granted any more", job=job)
            cancel = Message(JOBS_BULK_EXPORT, job, CancelBulkExport(job=job))
            return (cancel, self._reports.cancelled(command))
        except ObjectStoreError:
            raise Unavailable("objects") from None
        except TRANSIENT:
            raise Unavailable("postgres") from None
        return (event(_told(command, waiting.plan, sealed)),)

    def on_dead(self, subject: Delivery[PartCommand] | Record, failure: Failure) -> Sequence[Message]:
        """Have the part of a command that is given up sealed as failed.

        That is a command of its own, which waits for whatever is away; if that is given up too, all that is
        left is to say that the part failed.
        """
        if isinstance(subject, Delivery) and isinstance(subject.command, FailPart):
            return self._reports.on_dead(subject, failure)
        if isinstance(subject, Delivery):
            job, part = subject.command.job, subject.command.item
        elif (named := item_of_key(subject.key)) is not None:
            job, part = named
        else:
            return ()
        fail = FailPart(job=job, item=part, code=item_error(failure.code))
        return (Message(BULK_EXPORT_PARTS, item_key(job, part), fail),) if is_item(fail) else ()

    def on_retry(self, delivery: Delivery[PartCommand], failure: Failure) -> Sequence[Message]:
        """Say that the part waits to be tried again."""
        return self._reports.on_retry(delivery, failure)

    async def _attempt(
        self, command: PartCommand, facts: JobFacts, plan: PartPlan, data_key: DataKey | None
    ) -> SealedPart:
        if data_key is None:
            raise Reject(ItemError.INTERNAL)
        await self._check_grants(facts)
        work = _Work(facts, command.item, plan, data_key, self._attempts())
        if isinstance(command, FailPart):
            return await self._give_up(work, item_error(command.code))
        return await self._write(work)

    async def _write(self, work: _Work) -> SealedPart:
        facts, plan = work.facts, work.plan
        sink = self._sink(work)
        beside = self._beside(work)
        try:
            await self._fill(sink, facts, plan)
            files = await sink.finish()
            if plan.tells_ignored:
                await beside.write(ignored(facts.request.ignored))
                files = [*files, *await beside.finish()]
        except BaseException:
            await self._abandon(sink, beside)
            raise
        return await self._seal(work, files, sink, beside)

    async def _give_up(self, work: _Work, code: str) -> SealedPart:
        sink = self._beside(work)
        try:
            await sink.write(given_up(work.plan))
            if work.plan.tells_ignored:
                await sink.write(ignored(work.facts.request.ignored))
            files = await sink.finish()
        except BaseException:
            await self._abandon(sink)
            raise
        return await self._seal(work, files, sink, failed=code)

    async def _seal(
        self, work: _Work, files: Sequence[SealedFile], *sinks: Sink, failed: str | None = None
    ) -> SealedPart:
        # If this fails nobody knows whether the files are listed: they stay, until the next attempt tidies.
        at = datetime.fromtimestamp(self._clock(), UTC)
        sealed = await self._parts.seal(work.facts.job, work.part, files, at, failed=failed)
        if sealed is None:
            await self._abandon(*sinks)
            raise _StoppedError
        await self._tidy(work.facts.job, work.part, sealed)
        return sealed

    def _sink(self, work: _Work) -> Sink:
        plan = work.plan
        kind = _KINDS.get(plan.kind, FileKind.OUTPUT)
        type_ = _BUNDLE if plan.kind is PartKind.DELETED else plan.type or None
        return work.sink(self._objects, self._limits, kind=kind, type_=type_)

    def _beside(self, work: _Work) -> Sink:
        """Give where outcomes go."""
        return work.sink(self._objects, self._limits, kind=FileKind.ERROR, type_=OUTCOME, prefix="e")

    async def _fill(self, sink: Sink, facts: JobFacts, plan: PartPlan) -> None:
        looked = self._ticks()
        async with aclosing(self._pieces.of(facts, plan, sink.write_here)) as pieces:
            async for piece in pieces:
                if piece.count:
                    await sink.write(piece)
                if self._ticks() - looked >= LOOK_EVERY:
                    looked = self._ticks()
                    await self._look(facts)

    async def _look(self, facts: JobFacts) -> None:
        if await self._parts.stopped(facts.job):
            raise _StoppedError
        await self._check_grants(facts)

    async def _check_grants(self, facts: JobFacts) -> None:
        if not still_granted(await self._grants.of(facts.client, facts.subject), facts.access):
            raise _WithdrawnError

    async def _abandon(self, *sinks: Sink) -> None:
        try:
            for sink in sinks:
                await sink.abandon()
        except ObjectStoreError as error:
            # They are listed nowhere, and go with the job.
            log.warning("files of an attempt stay for now", error=type(error).__name__)

    async def _tidy(self, job: str, part: int, sealed: SealedPart) -> None:
        """Remove what other attempts at the part have left: killed ones, or those that came second."""
        listed = {file.key for file in sealed.files}
        try:
            left = [key for key in await self._objects.keys(job, part) if key not in listed]
            await self._objects.remove(left)
        except ObjectStoreError as error:
            log.warning("files of other attempts stay for now", error=type(error).__name__)


@dataclass(frozen=True, slots=True)
class _Work:
    """An attempt at a part."""

    facts: JobFacts
    part: int
    plan: PartPlan
    data_key: DataKey
    attempt: str

    def sink(
        self, objects: Objects, limits: FileLimits, *, kind: FileKind, type_: str | None, prefix: str = ""
    ) -> Sink:
        """Give where files of it go."""
        job, part, attempt = self.facts.job, self.part, self.attempt
        return Sink(
            objects, self.data_key, job, part, attempt, kind=kind, type_=type_, limits=limits, prefix=prefix
        )


def _told(command: PartCommand, plan: PartPlan, sealed: SealedPart) -> PartSealed | ItemFailed:
    at = sealed.at.timestamp()
    if sealed.failed is not None:
        code = sealed.failed
        return ItemFailed(job=command.job, at=at, item=command.item, stage=Stage.EXPORT, code=code)
    return PartSealed(
        job=command.job,
        at=at,
        item=command.item,
        resource_type=plan.type,
        files=len(sealed.files),
        count=sum(file.count for file in sealed.files),
        size=sum(file.size for file in sealed.files),
        sealed=tuple(
            events.SealedFile(
                resource_type=file.type or "", count=file.count, size=file.size, sha256=file.sha256.hex()
            )
            for file in sealed.files
        ),
    )
