"""What the fold counts, for Prometheus: types and sizes, never ids."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from sluice_contracts.wire import MalformedMessageError
from sluice_status.batch import Batch
from sluice_status.jobs import FINISHED, Job

EVENTS = Counter("sluice_status_events", "Events folded, by type", ["type"])
UNKNOWN = Counter("sluice_status_unknown", "Events of a type this version does not know, skipped")
DEAD = Counter("sluice_status_dead", "Records that are not what their topic promises, noted and skipped")
WRITE = Histogram(
    "sluice_status_write_seconds",
    "Time one span's transaction took",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
ANNOUNCED = Counter("sluice_status_announced", "Announcements published", ["type"])
WAITING = Gauge("sluice_status_outbox", "Announcements read from the outbox and not yet published")
_OUTCOMES = ("attached", "skipped", "failed", "cancelled")
_LONG = (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 10800, 43200, 86400)
PLANNED = Counter("sluice_jobs_planned", "Jobs planned, by kind", ["kind"])
FINISHED_JOBS = Counter("sluice_jobs_finished", "Jobs ended, by kind and outcome", ["kind", "outcome"])
JOB_SECONDS = Histogram(
    "sluice_job_seconds", "Time from a job's acceptance to its end", ["kind", "outcome"], buckets=_LONG
)
ITEMS = Counter("sluice_items_ended", "Items ended, by kind of job and outcome", ["kind", "outcome"])


def observe_jobs(changed: Iterable[tuple[Job, Job]]) -> None:
    """Count what a committed span changed, given as (before, after); events told again change nothing."""
    for before, after in changed:
        if after.kind is None:
            continue
        if before.kind is None:
            PLANNED.labels(after.kind).inc()
        for outcome in _OUTCOMES:
            # Items that were told of before their job's plan count with it.
            known = 0 if before.kind is None else getattr(before, outcome)
            # An item whose dead letter succeeds later ends twice, and is counted as both.
            if (more := getattr(after, outcome) - known) > 0:
                ITEMS.labels(after.kind, outcome).inc(more)
        if after.state == FINISHED != before.state:
            FINISHED_JOBS.labels(after.kind, after.outcome).inc()
            took = (after.finished_at or 0.0) - (after.submitted_at or 0.0)
            JOB_SECONDS.labels(after.kind, after.outcome).observe(max(0.0, took))


def observe(batch: Batch, seconds: float) -> None:
    """Count a span that was committed."""
    for kind, number in batch.types.items():
        if issubclass(kind, MalformedMessageError):
            continue
        EVENTS.labels(kind.__name__).inc(number)
    UNKNOWN.inc(batch.unknown)
    DEAD.inc(len(batch.dead))
    WRITE.observe(seconds)
