"""Plans exports: one command for the whole job becomes one command per part."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from sluice_contracts.commands import (
    BulkExportCommand,
    CancelBulkExport,
    ExpireJob,
    StartBulkExport,
    WritePart,
)
from sluice_contracts.errors import ItemError
from sluice_contracts.events import JobCancelled, JobKind, JobPlanned, Stage
from sluice_contracts.exports import ExpiryReason
from sluice_contracts.ids import is_job_id, item_key
from sluice_contracts.topics import BULK_EXPORT_PARTS, JOBS_EXPIRE
from sluice_exporter.blocks import plan_blocks
from sluice_exporter.outcomes import OUTCOME
from sluice_exporter.plan import JobFacts, PartKind, PartPlan
from sluice_exporter.provenance import PROVENANCE, plan_provenance
from sluice_exporter.scope import Scope, scopes_of, types_of
from sluice_exporter.store import Jobs, StoreGroups, StorePlanner
from sluice_streaming.items import ItemReports, event
from sluice_streaming.messages import Delivery, Message, Record
from sluice_streaming.outcomes import Failure, Reject
from sluice_streaming.salvage import SalvagedStart, salvaged


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
        self._reports = ItemReports(Stage.PLAN, clock)

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
        command = subject.command if isinstance(subject, Delivery) else salvaged(subject, SalvagedStart)
        if isinstance(command, CancelBulkExport):
            return (self._cancelled(command.job),)
        if command is None or not is_job_id(command.job):
            return ()
        only = WritePart(job=command.job, item=0)
        return (self._planned(command, 1), self._reports.failed(only, failure.code))

    async def _parts(self, facts: JobFacts) -> AsyncIterator[Sequence[PartPlan]]:
        """Cut the job. A few types at a time, so that no list of all patients of all types is held."""
        ignored = bool(facts.request.ignored)
        async with aclosing(self._cut(facts)) as found:
            async for some in found:
                if some and ignored:
                    # With a part that has something to give: a job of which nothing can be written fails.
                    first, *rest = some
                    yield [msgspec.structs.replace(first, tells_ignored=True), *rest]
                    ignored = False
                else:
                    yield some
        if ignored:
            yield [PartPlan(kind=PartKind.IGNORED, type=OUTCOME)]

    async def _cut(self, facts: JobFacts) -> AsyncGenerator[Sequence[PartPlan]]:
        request = facts.request
        scopes = await scopes_of(request, facts.access, self._groups)
        # A type whose last resource was deleted has none, but deletions to tell of.
        ever = await self._planner.known_types(facts.snapshot)
        asked = scopes.sorted(types_of(ever, request, facts.access))
        if request.organize_by is not None:
            size = self._cutting.part_bytes
            async with aclosing(plan_blocks(self._planner, facts, scopes, asked, size)) as found:
                async for some in found:
                    yield some
        else:
            # What takes longest begins first: Provenance that is looked through as a whole, then whatever
            # there is most of. So all processes end at about the same time.
            yield await plan_provenance(self._planner, facts, scopes, asked, self._cutting.part_bytes)
            for scope, types in asked:
                for type_ in types:
                    if type_ != PROVENANCE:
                        yield await self._resources(type_, facts, scope)
        if request.since is not None:
            for scope, types in asked:
                yield await self._deletions(types, facts, scope)

    async def _resources(self, type_: str, facts: JobFacts, scope: Scope) -> list[PartPlan]:
        size = self._cutting.part_bytes
        if scope.patients is not None:
            found = await self._planner.patient_parts([type_], scope.patients, facts.window, part_bytes=size)
        else:
            found = await self._planner.parts(
                [type_], facts.window, compartment=scope.compartment, part_bytes=size
            )
        return [PartPlan(kind=PartKind.RESOURCES, type=type_, parts=(part,)) for part in found]

    async def _deletions(self, types: Sequence[str], facts: JobFacts, scope: Scope) -> list[PartPlan]:
        # What was deleted cannot be searched any more: nobody knows whether it was within the limits.
        found = await self._planner.deleted_parts(
            [type_ for type_ in types if not facts.access.limits_of(type_)],
            facts.window,
            patients=scope.patients,
            compartment=scope.compartment and scope.patients is None,
        )
        return [PartPlan(kind=PartKind.DELETED, type=part.type, parts=(part,)) for part in found]

    def _planned(self, command: StartBulkExport | SalvagedStart, parts: int) -> Message:
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
