"""Document imports from their owner's side: polling, listing, cancelling, and running failed items again.

Whoever is not a job's owner (the client and the subject of the token it was submitted with) is told the same
as about a job that does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self

from sluice_contracts.commands import CancelDocumentImport, ConflictResolution, ImportItem
from sluice_contracts.errors import ERROR_TEXTS, ItemError
from sluice_contracts.events import JobOutcome
from sluice_contracts.ids import is_job_id
from sluice_contracts.progress import ItemRank
from sluice_gateway.etas import Etas
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.job_ids import JobIds
from sluice_gateway.models.base import ErrorBody
from sluice_gateway.models.files import File
from sluice_gateway.models.imports import (
    ImportResult,
    ItemCounts,
    ItemStateName,
    Job,
    JobStateName,
    JobSummary,
)
from sluice_gateway.paging import Window, links
from sluice_gateway.problems import Problem, not_found
from sluice_security.tokens import Principal


@dataclass(frozen=True, slots=True)
class JobRow:
    """What the status service has folded of a job."""

    job: str
    state: str
    outcome: str | None
    items: int
    attached: int
    skipped: int
    failed: int
    cancelled: int
    submitted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def accepted(cls, job: str, at: datetime, **more: str) -> Self:
        """Give a job of which nothing but its acceptance is known yet; `more` are a kind's other fields."""
        return cls(
            job=job,
            state=JobStateName.SUBMITTED,
            outcome=None,
            items=0,
            attached=0,
            skipped=0,
            failed=0,
            cancelled=0,
            submitted_at=at,
            started_at=None,
            finished_at=None,
            **more,
        )

    @property
    def ended(self) -> int:
        """How many of its items have ended."""
        return self.attached + self.skipped + self.failed + self.cancelled


@dataclass(frozen=True, slots=True)
class ItemRow:
    """What was planned for an item and what is known of it; `rank` is None before its first event.

    `warnings` are the required keys that its source did not have, `others` counts the document's further
    contents, `version` is the document's that was imported.
    """

    item: int
    reference: str
    rank: int | None
    code: str | None
    source_status: int | None
    file: str | None
    warnings: Sequence[str]
    others: int
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Rerun:
    """What it takes to run items again."""

    conflict_resolution: ConflictResolution
    tags: tuple[str, ...]
    items: tuple[ImportItem, ...]


class ImportStore(Protocol):
    """Where imports are read."""

    async def get(self, client: str, subject: str, job: str) -> JobRow | None: ...  # noqa: D102
    async def page(  # noqa: D102
        self, client: str, subject: str, limit: int, offset: int
    ) -> tuple[list[JobRow], int]: ...
    async def items(self, job: str, limit: int, offset: int) -> list[ItemRow]: ...  # noqa: D102
    async def failed(self, job: str) -> Rerun | None: ...  # noqa: D102


class FileReader(Protocol):
    """Where the files that items became are read."""

    async def shown(self, subject: str, ids: Sequence[str]) -> dict[str, File]:
        """Give those of the files that are there and that the subject may see."""


class CommandPublisher(Protocol):
    """Puts a job's commands on Kafka."""

    async def cancel(self, job: str, command: CancelDocumentImport) -> None:
        """Return when the command is acknowledged.

        Raises
        ------
        Problem
            503: it was not.
        """


def error_of(code: str | None, source_status: int | None) -> ErrorBody:
    """Say in words why an item has no file; the source's own status wins over the usual one."""
    try:
        known = ItemError(code or "")
    except ValueError:
        known = ItemError.INTERNAL  # a newer service's code, or a runtime's: the item failed all the same
    text = ERROR_TEXTS[known]
    status = source_status if source_status is not None and source_status >= 400 else text.status
    return ErrorBody(status=status, code=known.value, message=text.message, more_info=text.more_info)


def _item_state(row: ItemRow, *, ended: bool) -> ItemStateName:
    if row.rank is not None and (not ended or row.rank >= ItemRank.CANCELLED):
        return ItemStateName[ItemRank(row.rank).name]
    # A job that was cancelled ends at once: items that had not ended then never will.
    return ItemStateName.CANCELLED if ended else ItemStateName.PENDING


class Imports:
    """What an owner can ask about their imports.

    Parameters
    ----------
    store, files
        Where imports and files are read.
    commands
        Puts commands on Kafka.
    ids
        Reads job ids.
    hrefs
        Makes addresses.
    etas
        Tells when running jobs will end.
    """

    def __init__(
        self,
        store: ImportStore,
        files: FileReader,
        commands: CommandPublisher,
        *,
        ids: JobIds,
        hrefs: Hrefs,
        etas: Etas,
    ) -> None:
        self._store = store
        self._files = files
        self._commands = commands
        self._ids = ids
        self._hrefs = hrefs
        self._etas = etas

    async def poll(self, who: Principal, job: str, window: Window) -> Job:
        """Give the job with a page of its results.

        Raises
        ------
        Problem
            404: they have no such job.
        """
        head = await self._find(who, job)
        results = await self._results(who, head, window) if head.started_on is not None else []
        href = self._hrefs.job(job)
        return Job(**dict(head), result=results, links=links(href, {}, window, head.counts.total))

    async def page(self, who: Principal, window: Window) -> tuple[list[JobSummary], int]:
        """Give a page of their jobs, newest first, and how many they have."""
        rows, total = await self._store.page(who.client, who.subject, window.limit, window.offset)
        running = [row.job for row in rows if row.state == JobStateName.RUNNING]
        etas = await self._etas.of(running)
        return [self._summary(row, etas.get(row.job)) for row in rows], total

    async def cancel(self, who: Principal, job: str) -> tuple[JobSummary, bool]:
        """Ask for the job to be stopped; say how it stands and whether there was anything left to stop.

        Raises
        ------
        Problem
            404: they have no such job; 503: the wish could not be recorded.
        """
        head = await self._find(who, job)
        if head.state is JobStateName.FINISHED:
            return head, False
        await self._commands.cancel(job, CancelDocumentImport(job=job))
        return head, True

    async def failed_items(self, who: Principal, job: str) -> Rerun:
        """Give a finished job's items that have no file.

        Raises
        ------
        Problem
            404: they have no such job; 409: it is not finished, or nothing in it failed.
        """
        head = await self._find(who, job)
        if head.state is not JobStateName.FINISHED:
            raise Problem(409, "job_not_finished", "The job is not finished yet.", "Wait until it is.")
        rerun = await self._store.failed(job)
        if rerun is None or not rerun.items:
            raise Problem(409, "nothing_failed", "Every item of the job has its file.", "")
        return rerun

    async def _find(self, who: Principal, job: str) -> JobSummary:
        if not is_job_id(job):
            raise not_found("job")
        row = await self._store.get(who.client, who.subject, job)
        if row is not None:
            running = row.state == JobStateName.RUNNING
            return self._summary(row, await self._etas.one(job) if running else None)
        accepted = self._ids.unseen(who, job)
        if accepted is None:
            raise not_found("job")
        return self._summary(JobRow.accepted(job, accepted), None)

    def _summary(self, row: JobRow, eta: datetime | None) -> JobSummary:
        return JobSummary(
            id=row.job,
            href=self._hrefs.job(row.job),
            state=JobStateName(row.state),
            outcome=JobOutcome(row.outcome) if row.outcome else None,
            counts=ItemCounts(
                total=row.items,
                attached=row.attached,
                skipped=row.skipped,
                failed=row.failed,
                cancelled=row.cancelled,
                pending=max(0, row.items - row.ended),
            ),
            submitted_on=row.submitted_at,
            started_on=row.started_at,
            finished_on=row.finished_at,
            eta=eta,
        )

    async def _results(self, who: Principal, head: JobSummary, window: Window) -> list[ImportResult]:
        rows = await self._store.items(head.id, window.limit, window.offset)
        files = await self._files.shown(who.subject, [row.file for row in rows if row.file is not None])
        ended = head.state is JobStateName.FINISHED
        return [self._result(row, files, ended=ended) for row in rows]

    def _result(self, row: ItemRow, files: dict[str, File], *, ended: bool) -> ImportResult:
        state = _item_state(row, ended=ended)
        error = None
        if state is ItemStateName.FAILED:
            error = error_of(row.code, row.source_status)
        elif state is ItemStateName.CANCELLED:
            error = error_of(ItemError.CANCELLED, None)
        return ImportResult(
            item=row.item,
            fhir_document_reference=row.reference,
            state=state,
            resource=files.get(row.file) if row.file is not None else None,
            error=error,
            warnings=list(row.warnings),
            other_contents=row.others,
            document_version=row.version,
        )
