"""Jobs of every kind as the service tells of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct, field

from sluice_client.models import ItemProblem, JobState


class JobCounts(Struct, frozen=True, kw_only=True):
    """How many of a job's items (documents, parts of an export, files of an import) have come how far.

    `items` is 0 until the job is planned; `done` counts those that have ended, `attached` those that took
    effect: imported, written or loaded.
    """

    items: int = 0
    done: int = 0
    attached: int = 0
    skipped: int = 0
    failed: int = 0
    cancelled: int = 0


class JobStage(Struct, frozen=True, kw_only=True):
    """When the first and the last item of a job so far passed one of its stages."""

    stage: str
    first_on: datetime
    last_on: datetime


class HeldUp(Struct, frozen=True, kw_only=True):
    """What holds a job up at a source of its items: `slowed`, `held` (`until` then) or `failing`."""

    reason: str
    until: datetime | None = None


class AnyJob(Struct, frozen=True, kw_only=True):
    """A job of any kind: `document-import`, `bulk-import` or `bulk-export`.

    `outcome` is `completed`, `cancelled` or `failed` once it has finished; `result` is where its kind's own
    API shows it, for its owner. `stuck_since` is when it was last heard of, if that is long ago and it runs;
    `held_up` is told where one job is asked for, not in lists.
    """

    id: str
    href: str
    kind: str
    state: JobState
    outcome: str | None = None
    client: str = ""
    subject: str = ""
    counts: JobCounts = field(default_factory=JobCounts)
    submitted_on: datetime | None = None
    started_on: datetime | None = None
    finished_on: datetime | None = None
    eta: datetime | None = None
    stuck_since: datetime | None = None
    held_up: HeldUp | None = None
    stages: list[JobStage] = field(default_factory=list)
    result: str = ""

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state is JobState.FINISHED


class JobItem(Struct, frozen=True, kw_only=True):
    """One item of a job, without what it is about; `stage` is what failed or is retried."""

    item: int
    state: str
    stage: str | None = None
    attempt: int | None = None
    error: ItemProblem | None = None
    file: str | None = None
    updated_on: datetime | None = None


class JobEvent(Struct, frozen=True):
    """Something that happened to a job: an event of `jobs.events`, or a `snapshot` of how it stands."""

    type: str
    id: str
    data: dict[str, Any]
