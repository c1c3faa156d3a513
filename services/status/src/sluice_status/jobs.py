"""A job as it stands, what moves it, and when it has ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sluice_contracts.events import (
    DocumentAttached,
    DocumentFetched,
    DocumentScraped,
    Event,
    FileLoaded,
    JobFinished,
    JobKind,
    JobOutcome,
    JobPlanned,
    PartSealed,
)
from sluice_contracts.states import JobState
from sluice_status.batch import News, plan_order
from sluice_status.ladder import instant

SUBMITTED = "SUBMITTED"
RUNNING = "RUNNING"
FINISHED = "FINISHED"
_STAGES: dict[type[Event], str] = {
    DocumentFetched: "fetched",
    DocumentScraped: "scraped",
    DocumentAttached: "attached",
    PartSealed: "attached",
    FileLoaded: "attached",
}


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of a job's items are, or how many more became, each of the final states."""

    attached: int = 0
    skipped: int = 0
    failed: int = 0
    cancelled: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """What the item rows of a job say about its end.

    `ended` counts the items that are final and within the job's plan; `at` is when the last became so.
    """

    ended: int
    at: float


@dataclass(frozen=True, slots=True)
class Job:
    """One row of `status.jobs`; times are Unix seconds.

    The last six are when the first and the last of its items passed a stage; attached is what took effect.
    """

    job: str
    kind: str | None = None
    client: str | None = None
    subject: str | None = None
    state: str = SUBMITTED
    outcome: str | None = None
    items: int = 0
    attached: int = 0
    skipped: int = 0
    failed: int = 0
    cancelled: int = 0
    submitted_at: float | None = None
    started_at: float | None = None
    cancelled_at: float | None = None
    finished_at: float | None = None
    first_fetched_at: float | None = None
    last_fetched_at: float | None = None
    first_scraped_at: float | None = None
    last_scraped_at: float | None = None
    first_attached_at: float | None = None
    last_attached_at: float | None = None

    @property
    def ended_items(self) -> int:
        """How many items are final."""
        return self.attached + self.skipped + self.failed + self.cancelled

    @property
    def may_have_ended(self) -> bool:
        """Whether enough items are final that its item rows are worth a look."""
        return self.state == RUNNING and self.ended_items >= self.items


def learn(job: Job, news: News) -> Job:
    """Join what a batch says of the job itself: its plan and its cancellation, the earliest of each."""
    plan = news.planned
    if plan is not None and (job.kind is None or plan_order(plan) < plan_order(_plan(job))):
        job = replace(
            job,
            kind=str(plan.kind),
            client=plan.client,
            subject=plan.subject,
            state=RUNNING if job.state == SUBMITTED else job.state,
            items=plan.items,
            submitted_at=plan.submitted_at,
            started_at=plan.at,
        )
    at = news.cancelled_at
    if at is not None and (job.cancelled_at is None or at < job.cancelled_at):
        job = replace(job, cancelled_at=at)
    return _passed(job, news)


def _passed(job: Job, news: News) -> Job:
    """Join when items passed the stages: the earliest of the first, the latest of the last."""
    for kind, stage in _STAGES.items():
        if kind not in news.times:
            continue
        first, last = map(instant, news.times[kind])
        held_first: float | None = getattr(job, f"first_{stage}_at")
        held_last: float | None = getattr(job, f"last_{stage}_at")
        times: dict[str, Any] = {
            f"first_{stage}_at": first if held_first is None else min(first, held_first),
            f"last_{stage}_at": last if held_last is None else max(last, held_last),
        }
        job = replace(job, **times)
    return job


def _plan(job: Job) -> JobPlanned:
    return JobPlanned(
        job=job.job,
        at=job.started_at or 0.0,
        kind=JobKind(job.kind or ""),
        client=job.client or "",
        subject=job.subject or "",
        submitted_at=job.submitted_at or 0.0,
        items=job.items,
    )


def cancels(job: Job, news: News) -> bool:
    """Whether this batch completes what it takes to cancel the job's unfinished items: plan and word."""
    told = news.planned is not None or news.cancelled_at is not None
    return told and job.kind is not None and job.cancelled_at is not None


def count(job: Job, more: Tally) -> Job:
    """Add what the batch's changed item rows amount to; a replay changes no row, so it adds nothing."""
    return replace(
        job,
        attached=job.attached + more.attached,
        skipped=job.skipped + more.skipped,
        failed=job.failed + more.failed,
        cancelled=job.cancelled + more.cancelled,
    )


def end(job: Job, ending: Ending) -> Job:
    """Decide the job's end if all of its items have ended; once decided it stays.

    A job in which any item was cancelled is cancelled, one whose every item failed has failed, any other is
    completed. A cancellation that comes when all items have already ended finds nothing to cancel.
    """
    if job.state != RUNNING or ending.ended < job.items:
        return job
    if job.cancelled or (job.cancelled_at is not None and not job.items):
        outcome = JobOutcome.CANCELLED
    elif job.items and job.failed == job.items:
        outcome = JobOutcome.FAILED
    else:
        outcome = JobOutcome.COMPLETED
    at = max(ending.at, job.started_at or 0.0)
    return replace(job, state=FINISHED, outcome=str(outcome), finished_at=at)


def finished(job: Job) -> JobFinished:
    """Give the announcement of a job's end; the same job always gives the same one."""
    return JobFinished(
        job=job.job,
        at=job.finished_at or 0.0,
        kind=JobKind(job.kind or ""),
        outcome=JobOutcome(job.outcome or ""),
        items=job.items,
        attached=job.attached,
        skipped=job.skipped,
        failed=job.failed,
        cancelled=job.cancelled,
    )


def standing(job: Job) -> JobState:
    """Give the job as `jobs.state` tells it."""
    return JobState(
        job=job.job,
        kind=JobKind(job.kind or ""),
        client=job.client or "",
        subject=job.subject or "",
        state=job.state,
        items=job.items,
        attached=job.attached,
        skipped=job.skipped,
        failed=job.failed,
        cancelled=job.cancelled,
        submitted_at=job.submitted_at or 0.0,
        finished_at=job.finished_at,
        outcome=None if job.outcome is None else JobOutcome(job.outcome),
    )
