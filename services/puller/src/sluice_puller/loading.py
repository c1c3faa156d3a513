"""Loads files: one command, one download, one row that says what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from sluice_contracts.commands import FailFile, FinishImport, ItemCommand, LoadFile, PulledFileCommand
from sluice_contracts.errors import ItemError, item_error
from sluice_contracts.events import FileLoaded, ImportSettled, ItemFailed, Stage
from sluice_contracts.ids import item_key, item_of_key
from sluice_contracts.imports import PulledKind
from sluice_contracts.topics import BULK_IMPORT_FILES
from sluice_fhir.sources import Source, SourceLookup
from sluice_puller.contents import Taken, Wanted
from sluice_puller.pulling import fail_of, finish_of
from sluice_puller.store import Files, Finished, Loaded, Settled, WaitingFile
from sluice_security.failure import SourceFailure
from sluice_storage.pool import TRANSIENT
from sluice_storage.resources.batches import WithdrawnError
from sluice_streaming.items import ItemReports, event, is_item
from sluice_streaming.messages import Delivery, Message, Record
from sluice_streaming.outcomes import Failure, Reject, Retry, Unavailable

LOOK_EVERY = 1.0
"""Seconds between two looks at whether a job whose file is being loaded was cancelled."""

Result = TypeVar("Result")


class Taking(Protocol):
    """Brings files' contents into the store; `sluice_puller.contents.Contents` does."""

    async def take(self, source: Source, wanted: Wanted) -> Taken:
        """Do so, or raise `SourceFailure`."""


class _StoppedError(Exception):
    """The job was cancelled or deleted meanwhile."""


class Loading:
    """Handles `bulk-import.files`.

    Parameters
    ----------
    files
        Where files, and what became of them, are kept.
    sources, contents
        Where sources are looked up, and what loads from them.
    now
        Gives the time.
    look_every
        Seconds between two looks at whether a job was cancelled.
    """

    def __init__(
        self,
        files: Files,
        sources: SourceLookup,
        contents: Taking,
        now: Callable[[], datetime],
        *,
        look_every: float = LOOK_EVERY,
    ) -> None:
        self._files = files
        self._sources = sources
        self._contents = contents
        self._now = now
        self._look_every = look_every
        self._reports = ItemReports(Stage.LOAD, lambda: now().timestamp())

    async def handle(self, delivery: Delivery[PulledFileCommand]) -> Sequence[Message]:
        """Load the file unless it has ended, and say how it has; the last one to end asks for the job's end.

        Raises
        ------
        Retry
            The source may answer better later.
        Reject
            There is no such file.
        Unavailable
            The database is away.
        """
        command = delivery.command
        if not is_item(command):
            raise Reject(ItemError.INTERNAL)
        if isinstance(command, FinishImport):
            return await self._finish(command)
        waiting = await self._files.find(command.job, command.item)
        if waiting is None:
            if isinstance(command, FailFile):
                return ()  # of what is not there nothing has to end
            raise Reject(ItemError.INTERNAL)
        if waiting.stopped:
            return (self._reports.cancelled(command),)
        settled = waiting.settled
        try:
            if settled is None and isinstance(command, FailFile):
                settled = await self._give_up(command, item_error(command.code), command.source_status)
            elif settled is None:
                settled = await self._load(command, waiting)
        except _StoppedError:
            return (self._reports.cancelled(command),)
        # Of a job that is wanted whole nothing is known before all of it is there.
        told = () if waiting.strict else (event(_told(command.job, command.item, waiting, settled)),)
        return told if settled.last is None else (*told, finish_of(command.job, settled.last))

    def on_dead(self, subject: Delivery[PulledFileCommand] | Record, failure: Failure) -> Sequence[Message]:
        """Have the file of a command that is given up settled as failed.

        That is a command of its own, which waits for whatever is away; if that is given up too, or the job's
        end is, the job as a whole is ended in another way.
        """
        if isinstance(subject, Delivery) and not isinstance(subject.command, LoadFile):
            given_up = subject.command
            code = given_up.code if isinstance(given_up, FailFile) else failure.code
            return (fail_of(given_up.job, code),) if is_item(given_up) else ()
        if isinstance(subject, Delivery):
            job, item = subject.command.job, subject.command.item
        elif (named := item_of_key(subject.key)) is not None:
            job, item = named
        else:
            return ()
        fail = FailFile(job=job, item=item, code=item_error(failure.code), source_status=failure.status)
        return (Message(BULK_IMPORT_FILES, item_key(job, item), fail),) if is_item(fail) else ()

    def on_retry(self, delivery: Delivery[PulledFileCommand], failure: Failure) -> Sequence[Message]:
        """Say that the file waits to be tried again."""
        return self._reports.on_retry(delivery, failure)

    async def _load(self, command: ItemCommand, waiting: WaitingFile) -> Settled:
        if waiting.kind is None or waiting.url is None:
            raise Reject(ItemError.INTERNAL)
        source = None if waiting.source is None else await self._sources.get(waiting.source)
        if source is None:
            return await self._give_up(command, ItemError.SOURCE_UNKNOWN, None)
        wanted = Wanted(
            command.job,
            command.item,
            waiting.kind,
            waiting.type,
            waiting.url,
            waiting.needs_token,
            waiting.strict,
            waiting.base,
            waiting.claims,
            waiting.submitted,
        )
        try:
            taken = await self._watched(command.job, self._contents.take(source, wanted))
        except SourceFailure as failure:
            if failure.retry:
                raise Retry(failure.code, failure.after, failure.status, counts=failure.counts) from None
            return await self._give_up(command, failure.code, failure.status)
        except TRANSIENT:
            raise Unavailable("postgres") from None
        except WithdrawnError:
            raise _StoppedError from None
        return _going(
            await self._files.settle(
                command.job, command.item, taken.counts, self._now(), issues=taken.issues
            )
        )

    async def _give_up(self, command: ItemCommand, code: str, status: int | None) -> Settled:
        return _going(
            await self._files.settle(
                command.job, command.item, Loaded(), self._now(), failed=code, status=status
            )
        )

    async def _finish(self, command: FinishImport) -> Sequence[Message]:
        done = await self._files.finish(command.job, self._now())
        if done is None:
            stopped = await self._files.stopped(command.job)
            return (self._reports.cancelled(command),) if stopped else ()
        at = done.at.timestamp()
        if done.abandoned or (done.files and done.failed == done.files):
            # A job of which nothing came has failed, whichever way it ended.
            code = item_error(done.code or ItemError.INTERNAL)
            failed = ItemFailed(
                job=command.job,
                at=at,
                item=command.item,
                stage=Stage.LOAD,
                code=code,
                source_status=done.status,
            )
            return (*await self._files_of(done, command.job), event(failed))
        settled = ImportSettled(
            job=command.job, at=at, item=command.item, files=done.files, failed=done.failed
        )
        return (*await self._files_of(done, command.job), event(settled))

    async def _files_of(self, done: Finished, job: str) -> Sequence[Message]:
        """Say how the files of a job have ended of which nothing was told yet."""
        if not done.strict:
            return ()
        return [
            event(_told(job, item, file, file.settled))
            for item, file in await self._files.ended(job)
            if file.settled is not None
        ]

    async def _watched(self, job: str, work: Coroutine[Any, Any, Result]) -> Result:
        """Do the work, and stop it within seconds if the job is cancelled.

        A source that sends nothing must not keep a cancelled download alive, so it is not looked between
        pieces but beside them.
        """
        task = asyncio.create_task(work)
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=self._look_every)
                if done:
                    return task.result()
                if await self._files.stopped(job):
                    raise _StoppedError
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


def _going(settled: Settled | None) -> Settled:
    if settled is None:
        raise _StoppedError
    return settled


def _told(job: str, item: int, waiting: WaitingFile, settled: Settled) -> FileLoaded | ItemFailed:
    at = settled.at.timestamp()
    if settled.failed is not None:
        return ItemFailed(
            job=job,
            at=at,
            item=item,
            stage=Stage.LOAD,
            code=settled.failed,
            source_status=settled.status,
        )
    counts = settled.counts
    return FileLoaded(
        job=job,
        at=at,
        item=item,
        resource_type=(waiting.type or "") if waiting.kind is PulledKind.OUTPUT else "",
        read=counts.read,
        created=counts.created,
        updated=counts.updated,
        unchanged=counts.unchanged,
        stale=counts.stale,
        invalid=counts.invalid,
        deleted=counts.deleted,
        size=counts.size,
    )
