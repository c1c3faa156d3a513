"""Jobs of every kind from one place: what an owner, or an operator, asks without caring what kind it is.

An owner (the client and the subject of a token) sees what was submitted with both; whoever has the scope
`ops/jobs` sees everyone's. What a job is about stays with its kind's own API and its owner.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sluice_contracts.events import JobKind, JobOutcome, Stage
from sluice_contracts.ids import is_job_id
from sluice_contracts.progress import ItemRank
from sluice_gateway.alerts import Alerts
from sluice_gateway.etas import Etas
from sluice_gateway.holding_up import HoldingUp, Waiting, blocks
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.imports import JobRow, error_of
from sluice_gateway.job_ids import JobIds
from sluice_gateway.models.imports import ItemStateName, JobStateName
from sluice_gateway.models.jobs import AnyJob, AnyJobQuery, JobCounts, JobItem, JobStage, PassedStage
from sluice_gateway.paging import Window
from sluice_gateway.problems import not_found
from sluice_security.tokens import Principal

OPERATORS = "ops/jobs"

Owner = tuple[str, str]
"""A client and a subject."""


@dataclass(frozen=True, slots=True)
class AnyJobRow(JobRow):
    """The same of a job of any kind, with whose it is and when its items passed each stage.

    A bulk import also has when its source took it on, and when what it refers to had been looked up.
    """

    kind: str
    client: str
    subject: str
    first_fetched_at: datetime | None = None
    last_fetched_at: datetime | None = None
    first_scraped_at: datetime | None = None
    last_scraped_at: datetime | None = None
    first_attached_at: datetime | None = None
    last_attached_at: datetime | None = None
    begun_at: datetime | None = None
    settled_at: datetime | None = None

    @property
    def owner(self) -> Owner:
        """Whose it is."""
        return self.client, self.subject


@dataclass(frozen=True, slots=True)
class AnyItemRow:
    """What the status service has folded of an item."""

    item: int
    rank: int
    stage: str | None
    code: str | None
    attempt: int | None
    source_status: int | None
    file: str | None
    updated_at: datetime


class AnyJobStore(Waiting, Protocol):
    """Where jobs of every kind are read. An owner of None stands for everyone.

    A job that its owner deleted, or that has expired, is not there.
    """

    async def some(self, owner: Owner | None, jobs: Collection[str]) -> list[AnyJobRow]:
        """Give those of the jobs that are there; ids are UUIDs in their one spelling."""

    async def withdrawn(self, job: str) -> bool:
        """Say whether a job is known to have been deleted, or to have expired."""

    async def page(
        self, owner: Owner | None, query: AnyJobQuery, window: Window
    ) -> tuple[list[AnyJobRow], int]:
        """Give a page of jobs, newest first, and how many there are."""

    async def items(self, job: str, rank: int | None, window: Window) -> tuple[list[AnyItemRow], int]:
        """Give a page of a job's items, all or those of one rank, and how many there are."""


class AllJobs:
    """What can be asked about jobs of every kind.

    Parameters
    ----------
    store
        Where they are read.
    ids
        Reads the ids of each kind.
    hrefs
        Makes addresses.
    etas
        Tells when running jobs will end.
    alerts
        Tells which of them are stuck.
    holding_up
        Tells what holds them up at their sources.
    now
        The wall clock, Unix seconds.
    """

    def __init__(
        self,
        store: AnyJobStore,
        ids: Mapping[JobKind, JobIds],
        *,
        hrefs: Hrefs,
        etas: Etas,
        alerts: Alerts,
        holding_up: HoldingUp,
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._ids = ids
        self._hrefs = hrefs
        self._etas = etas
        self._alerts = alerts
        self._holding_up = holding_up
        self._now = now

    def sees(self, who: Principal) -> Owner | None:
        """Give whose jobs the token sees; None: everyone's."""
        return None if OPERATORS in who.scopes else (who.client, who.subject)

    def left(self, who: Principal) -> float:
        """Give for how many seconds the token is good yet."""
        return max(0.0, who.expires - self._now())

    async def page(self, who: Principal, query: AnyJobQuery) -> tuple[list[AnyJob], int]:
        """Give a page of the jobs that the token sees, newest first, and how many it sees."""
        rows, total = await self._store.page(self.sees(who), query, Window.of(query))
        return await self.shown(rows), total

    async def get(self, who: Principal, job: str) -> AnyJob:
        """Give a job, with what holds it up; while nobody can tell for how long, nor when it will end.

        Raises
        ------
        Problem
            404: the token sees no such job.
        """
        row = await self._found(who, job)
        (told,) = await self.shown([row])
        if row.state != JobStateName.RUNNING:
            return told
        held_up = await self._holding_up.of(job)
        eta = None if blocks(held_up) else told.eta
        return told.model_copy(update={"held_up": held_up, "eta": eta})

    async def items(
        self, who: Principal, job: str, state: ItemStateName | None, window: Window
    ) -> tuple[list[JobItem], int]:
        """Give a page of a job's items of which anything is known, and how many there are.

        Raises
        ------
        Problem
            404: the token sees no such job.
        """
        await self._found(who, job)
        if state is ItemStateName.PENDING:
            return [], 0  # of these nothing is known
        rank = None if state is None else int(ItemRank[state.name])
        rows, total = await self._store.items(job, rank, window)
        return [_item(row) for row in rows], total

    async def some(self, jobs: Collection[str]) -> list[AnyJobRow]:
        """Give the rows of jobs, whoever's they are."""
        return await self._store.some(None, jobs)

    async def shown(self, rows: Sequence[AnyJobRow]) -> list[AnyJob]:
        """Write rows as they are answered."""
        running = [row.job for row in rows if row.state == JobStateName.RUNNING]
        etas = await self._etas.of(running) if running else {}
        stuck = await self._alerts.stuck() if running else {}
        return [self._job(row, etas.get(row.job), stuck.get(row.job)) for row in rows]

    def _job(self, row: AnyJobRow, eta: datetime | None, stuck: datetime | None) -> AnyJob:
        kind = JobKind(row.kind)
        counts = JobCounts(
            items=row.items,
            done=row.ended,
            attached=row.attached,
            skipped=row.skipped,
            failed=row.failed,
            cancelled=row.cancelled,
        )
        return AnyJob(
            id=row.job,
            href=self._hrefs.any_job(row.job),
            kind=kind,
            state=JobStateName(row.state),
            outcome=JobOutcome(row.outcome) if row.outcome else None,
            client=row.client,
            subject=row.subject,
            counts=counts,
            submitted_on=row.submitted_at,
            started_on=row.started_at,
            finished_on=row.finished_at,
            eta=eta,
            stuck_since=stuck if row.state == JobStateName.RUNNING else None,
            held_up=None,
            stages=_stages(kind, row),
            result=self._result(kind, row.job),
        )

    async def _found(self, who: Principal, job: str) -> AnyJobRow:
        if not is_job_id(job):
            raise not_found("job")
        if rows := await self._store.some(self.sees(who), [job]):
            return rows[0]
        if await self._store.withdrawn(job):
            raise not_found("job")
        return self._accepted(who, job)

    def _accepted(self, who: Principal, job: str) -> AnyJobRow:
        """Give a job of which nothing but its id is known yet."""
        for kind, ids in self._ids.items():
            if (submitted := ids.unseen(who, job)) is not None:
                return AnyJobRow.accepted(job, submitted, kind=kind, client=who.client, subject=who.subject)
        raise not_found("job")

    def _result(self, kind: JobKind, job: str) -> str:
        match kind:
            case JobKind.DOCUMENT_IMPORT:
                return self._hrefs.job(job)
            case JobKind.BULK_EXPORT:
                return self._hrefs.export(job)
            case JobKind.BULK_IMPORT:
                return self._hrefs.bulk_import(job)


_LAST_STAGE = {
    JobKind.DOCUMENT_IMPORT: PassedStage.ATTACH,
    JobKind.BULK_IMPORT: PassedStage.LOAD,
    JobKind.BULK_EXPORT: PassedStage.EXPORT,
}


def _stages(kind: JobKind, row: AnyJobRow) -> list[JobStage]:
    passed = (
        (PassedStage.KICK_OFF, row.begun_at, row.begun_at),
        (PassedStage.FETCH, row.first_fetched_at, row.last_fetched_at),
        (PassedStage.SCRAPE, row.first_scraped_at, row.last_scraped_at),
        (_LAST_STAGE[kind], row.first_attached_at, row.last_attached_at),
        (PassedStage.LOOK_UP, row.settled_at, row.settled_at),
    )
    return [
        JobStage(stage=stage, first_on=first, last_on=last)
        for stage, first, last in passed
        if first is not None and last is not None
    ]


def _item(row: AnyItemRow) -> JobItem:
    state = ItemStateName[ItemRank(row.rank).name]
    told = state in (ItemStateName.FAILED, ItemStateName.RETRYING)
    return JobItem(
        item=row.item,
        state=state,
        stage=Stage(row.stage) if row.stage is not None else None,
        attempt=row.attempt,
        error=error_of(row.code, row.source_status) if told else None,
        file=row.file,
        updated_on=row.updated_at,
    )
