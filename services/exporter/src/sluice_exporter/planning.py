"""Plans exports: one command for the whole job becomes one command per part."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from sluice_contracts.commands import (
    BulkExportCommand,
    CancelBulkExport,
    ExpireJob,
    StartBulkExport,
    WritePart,
)
from sluice_contracts.errors import ItemError
from sluice_contracts.events import Event, ItemFailed, JobCancelled, JobKind, JobPlanned, Stage
from sluice_contracts.exports import ExpiryReason
from sluice_contracts.ids import item_key
from sluice_contracts.topics import BULK_EXPORT_PARTS, JOBS_EVENTS, JOBS_EXPIRE
from sluice_exporter.plan import JobFacts, PartKind, PartPlan, is_job_id
from sluice_exporter.provenance import plan_provenance
from sluice_exporter.scope import Scope, scope_of, types_of
from sluice_exporter.store import Jobs, StoreGroups, StorePlanner
from sluice_fhir.compartments import COMPARTMENT_TYPES
from sluice_storage.resources.model import Window
from sluice_streaming.messages import Delivery, Message, Record
from sluice_streaming.outcomes import Failure, Reject

# A block takes all of a patient's data, which is a thousand times what the Patient resource takes.
_BLOCKS_SHARE = 1000
_PATIENTS_IN_A_PART = 200
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cutting:
    """How jobs are cut: `part_bytes` is about the size of a part, `keep` how long a job is kept."""

    part_bytes: int
    keep: timedelta


class Planning:
    """Handles `jobs.bulk-export`.

    Parameters
    ----------
    jobs
        Where jobs and their parts are kept.
    planner, groups
        The resource store.
    cutting
        How jobs are cut.
    clock
        Unix seconds.
    """

    def __init__(
        self,
        jobs: Jobs,
        planner: StorePlanner,
        groups: StoreGroups,
        cutting: Cutting,
        clock: Callable[[], float],
    ) -> None:
        self._jobs = jobs
        self._planner = planner
        self._groups = groups
        self._cutting = cutting
        self._clock = clock

    async def handle(self, delivery: Delivery[BulkExportCommand]) -> Sequence[Message]:
        """Take the job's snapshot, cut it into parts and give their commands; or mark it cancelled.

        A job that is planned twice keeps the snapshot and the parts of the first time, and gives the same
        commands again.

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
        if isinstance(command, CancelBulkExport):
            await self._jobs.cancel(command.job)
            expire = ExpireJob(job=command.job, reason=ExpiryReason.CANCELLED)
            return (self._cancelled(command.job), Message(JOBS_EXPIRE, command.job, expire))
        snapshot = await self._planner.snapshot()
        facts = await self._jobs.begin(command, snapshot, self._cutting.keep)
        if facts is None:
            # Deleted before it began: it ends here, without parts.
            return (self._planned(command, 0), self._cancelled(command.job))
        count = await self._jobs.plan(command.job, self._parts(facts))
        writes = [
            Message(BULK_EXPORT_PARTS, item_key(command.job, part), WritePart(job=command.job, item=part))
            for part in range(count)
        ]
        # The event is published before the commands, so that it is most often folded before theirs.
        return (self._planned(command, count), *writes)

    def on_dead(self, subject: Delivery[BulkExportCommand] | Record, failure: Failure) -> Sequence[Message]:
        """End a job that could not be planned: the one part it is said to have failed."""
        command = subject.command if isinstance(subject, Delivery) else _salvaged(subject)
        if isinstance(command, CancelBulkExport):
            return (self._cancelled(command.job),)
        if command is None or not is_job_id(command.job):
            return ()
        failed = ItemFailed(
            job=command.job, at=self._clock(), item=0, stage=Stage.PLAN, code=known_code(failure.code)
        )
        return (self._planned(command, 1), event(failed))

    async def _parts(self, facts: JobFacts) -> AsyncIterator[Sequence[PartPlan]]:
        """Cut the job. A few types at a time, so that no list of all patients of all types is held."""
        request, window = facts.request, facts.window
        scope = await scope_of(request, facts.access, self._groups)
        # A type whose last resource was deleted has none, but deletions to tell of.
        ever = await self._planner.types(Window(facts.snapshot, since=_BEGINNING))
        types = types_of(ever, request, facts.access)
        if scope.compartment or scope.patients is not None:
            types = [type_ for type_ in types if type_ in COMPARTMENT_TYPES]
        if request.organize_by is not None:
            yield await self._blocks(facts, scope)
        else:
            for type_ in types:
                if type_ != "Provenance":
                    yield await self._resources(type_, facts, scope)
            yield await plan_provenance(self._planner, facts, scope, types, self._cutting.part_bytes)
        if request.since is not None:
            found = await self._planner.deleted_parts(
                types,
                window,
                patients=scope.patients,
                compartment=scope.compartment and scope.patients is None,
            )
            yield [PartPlan(kind=PartKind.DELETED, type=part.type, parts=(part,)) for part in found]
        if request.ignored:
            yield [PartPlan(kind=PartKind.IGNORED, type="OperationOutcome")]

    async def _resources(self, type_: str, facts: JobFacts, scope: Scope) -> list[PartPlan]:
        size = self._cutting.part_bytes
        if scope.patients is not None:
            found = await self._planner.patient_parts([type_], scope.patients, facts.window, part_bytes=size)
        else:
            found = await self._planner.parts(
                [type_], facts.window, compartment=scope.compartment, part_bytes=size
            )
        return [PartPlan(kind=PartKind.RESOURCES, type=type_, parts=(part,)) for part in found]

    async def _blocks(self, facts: JobFacts, scope: Scope) -> list[PartPlan]:
        if scope.patients is not None:
            chunks = [
                scope.patients[at : at + _PATIENTS_IN_A_PART]
                for at in range(0, len(scope.patients), _PATIENTS_IN_A_PART)
            ]
            return [PartPlan(kind=PartKind.BLOCKS, patients=chunk) for chunk in chunks]
        # Patients who have not changed since may have data that have.
        found = await self._planner.parts(
            ["Patient"],
            Window(facts.snapshot),
            part_bytes=max(self._cutting.part_bytes // _BLOCKS_SHARE, 1),
        )
        return [PartPlan(kind=PartKind.BLOCKS, parts=(part,)) for part in found]

    def _planned(self, command: StartBulkExport | _Salvaged, parts: int) -> Message:
        return event(
            JobPlanned(
                job=command.job,
                at=self._clock(),
                kind=JobKind.BULK_EXPORT,
                client=command.client,
                subject=command.subject,
                submitted_at=command.submitted_at,
                items=parts,
            )
        )

    def _cancelled(self, job: str) -> Message:
        return event(JobCancelled(job=job, at=self._clock()))


class _Salvaged(Struct):
    """As much of a start that cannot be decoded as its job needs to end."""

    job: str
    client: str
    subject: str
    submitted_at: float


def _salvaged(record: Record) -> _Salvaged | None:
    try:
        return msgspec.json.decode(record.value or b"", type=_Salvaged)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def event(body: Event) -> Message:
    """Address an event."""
    return Message(JOBS_EVENTS, body.job, body)


_ITEM_CODES = frozenset(code.value for code in ItemError)


def known_code(code: str) -> str:
    """Give an item's error code for a failure's: the same if items have it, else `internal`."""
    return code if code in _ITEM_CODES else ItemError.INTERNAL
