"""Handles bulk imports as wholes: their start, their steps at the source, their cancellation.

What a job's step came to is decided once, in Postgres, in a turn; a command of that turn that is delivered
again tells the same again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from sluice_contracts.commands import (
    BulkImportCommand,
    CancelBulkImport,
    FailImport,
    FinishImport,
    LoadFile,
    PollExport,
    StartBulkImport,
)
from sluice_contracts.errors import ItemError, item_error
from sluice_contracts.events import ItemFailed, JobCancelled, JobKind, JobPlanned, Stage
from sluice_contracts.ids import is_job_id, item_key
from sluice_contracts.topics import BULK_IMPORT_FILES, JOBS_BULK_IMPORT
from sluice_puller.asking import Asking
from sluice_puller.store import Jobs, Phase, PullJob
from sluice_streaming.items import event
from sluice_streaming.messages import Delivery, Message, Record
from sluice_streaming.outcomes import Failure, Reject
from sluice_streaming.salvage import salvaged


class _Started(Struct):
    """As much of a start, also of one that cannot be decoded, as its job needs to end."""

    job: str
    client: str
    subject: str
    submitted_at: float


class Pulling:
    """Handles `jobs.bulk-import`.

    Parameters
    ----------
    jobs
        Where jobs are kept.
    asking
        Takes their steps.
    lease
        How long a step may take before another process takes it as well.
    now
        Gives the time.
    """

    def __init__(self, jobs: Jobs, asking: Asking, *, lease: timedelta, now: Callable[[], datetime]) -> None:
        self._jobs = jobs
        self._asking = asking
        self._lease = lease
        self._now = now

    async def handle(self, delivery: Delivery[BulkImportCommand]) -> Sequence[Message]:
        """Take the step that the command asks for, if it is not over, and say what was decided by it.

        Raises
        ------
        Reject
            The job's id is not one.
        Unavailable
            The database is away.
        """
        command = delivery.command
        if not is_job_id(command.job):
            raise Reject(ItemError.INTERNAL)
        if isinstance(command, StartBulkImport):
            return await self._turn(await self._jobs.begin(command, self._now(), self._lease), 0)
        if isinstance(command, CancelBulkImport):
            await self._jobs.cancel(command.job, self._now())
            return await self._look(command.job, None)
        if isinstance(command, FailImport):
            return await self._fail(command)
        return await self._look(command.job, command.turn)

    def on_dead(self, subject: Delivery[BulkImportCommand] | Record, failure: Failure) -> Sequence[Message]:
        """Have a job ended whose command is given up, by a command of its own.

        That one is never given up: each of its dead letters comes with another one, so that a job whose end
        cannot be kept ends when it can, and operators hear of it meanwhile.
        """
        command = subject.command if isinstance(subject, Delivery) else salvaged(subject, _Started)
        if command is None or not is_job_id(command.job):
            return ()
        if isinstance(command, CancelBulkImport):
            return (event(JobCancelled(job=command.job, at=self._now().timestamp())),)
        if isinstance(command, PollExport):
            return (fail_of(command.job, failure.code),)
        if isinstance(command, StartBulkImport):
            fail = FailImport(
                job=command.job,
                code=item_error(failure.code),
                client=command.client,
                subject=command.subject,
                submitted_at=command.submitted_at,
            )
            return (Message(JOBS_BULK_IMPORT, command.job, fail),)
        if isinstance(command, FailImport) and not command.client:
            return (Message(JOBS_BULK_IMPORT, command.job, command),)
        code = command.code if isinstance(command, FailImport) else failure.code
        return self._failed_start(command, code) if command.client else ()

    async def _look(self, job: str, turn: int | None) -> Sequence[Message]:
        found = await self._jobs.get(job)
        return () if found is None else await self._turn(found, turn)

    async def _turn(self, job: PullJob, turn: int | None) -> Sequence[Message]:
        """Take the job's step if it is its turn; None stands for no turn at all."""
        if job.cancelled_at is not None:
            return await self._stop(job, job.cancelled_at, turn)
        if turn is None:
            return ()
        if job.turn == turn:
            await self._asking.step(job)
            found = await self._jobs.get(job.job)
            if found is None:
                return ()
            job = found
            if job.cancelled_at is not None:
                return await self._stop(job, job.cancelled_at, None)
        return await self._decided(job) if job.decided == turn else ()

    async def _stop(self, job: PullJob, at: datetime, turn: int | None) -> Sequence[Message]:
        if job.phase.open:
            await self._jobs.retire(job.job, self._now())
        elif job.phase is Phase.RELEASING and job.turn == turn:
            await self._asking.step(job)
        cancelled = event(JobCancelled(job=job.job, at=at.timestamp()))
        if job.client is None:
            return (cancelled,)  # its start is still to come, and finds it cancelled
        if job.planned_at is None:
            return (_planned(job, 0, at), cancelled)
        return (_planned(job, _items(job), job.planned_at), cancelled)

    async def _fail(self, command: FailImport) -> Sequence[Message]:
        await self._jobs.abandon(command.job, item_error(command.code), self._now())
        found = await self._jobs.get(command.job)
        if found is None or found.client is None:
            return self._failed_start(command, command.code) if command.client else ()
        if found.cancelled_at is not None:
            return await self._stop(found, found.cancelled_at, None)
        return await self._decided(found)

    async def _decided(self, job: PullJob) -> Sequence[Message]:
        if job.planned_at is None:
            return ()
        planned = _planned(job, _items(job), job.planned_at)
        if job.files is None:
            return (planned, _failed(job, 0, job.planned_at))
        if job.failed is not None and job.finished_at is not None:
            lost = (*await self._jobs.lost(job.job), job.files)
            return (planned, *(_failed(job, item, job.finished_at) for item in lost))
        items = await self._jobs.unsettled(job.job)
        if not items:
            return (planned, finish_of(job.job, job.files))
        # The event is published before the commands, so that it is most often folded before theirs.
        loads = [
            Message(BULK_IMPORT_FILES, item_key(job.job, item), LoadFile(job=job.job, item=item))
            for item in items
        ]
        return (planned, *loads)

    def _failed_start(self, start: _Started | FailImport, code: str) -> Sequence[Message]:
        """Say that a job of which no row tells has failed."""
        at = self._now().timestamp()
        planned = JobPlanned(
            job=start.job,
            at=at,
            kind=JobKind.BULK_IMPORT,
            client=start.client,
            subject=start.subject,
            submitted_at=start.submitted_at,
            items=1,
        )
        failed = ItemFailed(job=start.job, at=at, item=0, stage=Stage.PULL, code=item_error(code))
        return (event(planned), event(failed))


def fail_of(job: str, code: str) -> Message:
    """Ask for the end of a job that cannot be brought to it."""
    return Message(JOBS_BULK_IMPORT, job, FailImport(job=job, code=item_error(code)))


def finish_of(job: str, files: int) -> Message:
    """Ask for the end of a job all of whose files have ended."""
    return Message(BULK_IMPORT_FILES, item_key(job, files), FinishImport(job=job, item=files))


def _items(job: PullJob) -> int:
    """Give how many items a job that was planned or failed has: its files and its end, or its failure."""
    return 1 if job.files is None else job.files + 1


def _failed(job: PullJob, item: int, at: datetime) -> Message:
    failed = ItemFailed(
        job=job.job,
        at=at.timestamp(),
        item=item,
        stage=Stage.PULL,
        code=item_error(job.failed or ItemError.INTERNAL),
        source_status=job.failed_status,
    )
    return event(failed)


def _planned(job: PullJob, items: int, at: datetime) -> Message:
    submitted = job.submitted_at or at
    return event(
        JobPlanned(
            job=job.job,
            at=at.timestamp(),
            kind=JobKind.BULK_IMPORT,
            client=job.client or "",
            subject=job.subject or "",
            submitted_at=submitted.timestamp(),
            items=items,
            sources=() if job.request is None else (job.request.source,),
        )
    )
