"""What is told of a job's state, beside the events that led to it."""

from __future__ import annotations

from msgspec import Struct

from sluice_contracts.events import JobKind, JobOutcome


class JobState(Struct, frozen=True, kw_only=True):
    """The value of `jobs.state` (compacted): the job as it stands, for those who do not fold events."""

    job: str
    kind: JobKind
    client: str
    subject: str
    state: str
    items: int
    attached: int
    skipped: int
    failed: int
    cancelled: int
    submitted_at: float
    finished_at: float | None = None
    outcome: JobOutcome | None = None
