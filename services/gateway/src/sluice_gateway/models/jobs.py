"""Jobs of every kind, as their owners and operators see them."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from sluice_contracts.events import JobKind, JobOutcome, Stage
from sluice_gateway.models.base import AnswerModel, ErrorBody, Instant, PageQuery, Time
from sluice_gateway.models.imports import ItemStateName, JobStateName


class JobCounts(AnswerModel):
    """How many of a job's items (documents, parts of an export, files of an import) have come how far."""

    items: int = Field(description="How many there are; 0 until the job is planned.")
    done: int = Field(description="How many have ended, however.")
    attached: int = Field(description="How many took effect: imported, written or loaded.")
    skipped: int
    failed: int
    cancelled: int


class PassedStage(StrEnum):
    """What is done with a job's items, and before and after them; which of these depends on its kind."""

    KICK_OFF = "kick-off"
    FETCH = "fetch"
    SCRAPE = "scrape"
    ATTACH = "attach"
    LOAD = "load"
    EXPORT = "export"
    LOOK_UP = "look-up"


class JobStage(AnswerModel):
    """When a job's items passed one of its stages."""

    stage: PassedStage = Field(
        description="`fetch`, `scrape` and `attach` of a document import; `kick-off` (its source took the"
        " export on), `load` and `look-up` (of what it refers to) of a bulk import; `export`."
    )
    first_on: Time = Field(description="When the first item had passed it.")
    last_on: Time = Field(description="When the last one so far had.")


class HoldUp(StrEnum):
    """What holds a job up at a source of its items, the least first."""

    SLOWED = "slowed"
    HELD = "held"
    FAILING = "failing"


class HeldUp(AnswerModel):
    """What holds a job up at a source of its items."""

    reason: HoldUp = Field(
        description="`slowed`: the source refused calls within the last minute, or became slow to answer, so "
        "it gets fewer; `held`: it asked to be left alone; `failing`: nothing of its last minutes was good."
    )
    until: Time | None = Field(description="It asked to be left alone until then.")


class AnyJob(AnswerModel):
    """A job of any kind."""

    id: str
    href: str
    kind: JobKind
    state: JobStateName
    outcome: JobOutcome | None = Field(description="How it ended, once it has.")
    client: str = Field(description="Id of the OAuth client that submitted it.")
    subject: str = Field(description="Whom it was submitted for: a user, or the client itself.")
    counts: JobCounts
    submitted_on: Time
    started_on: Time | None = Field(description="When it was planned.")
    finished_on: Time | None
    eta: Time | None = Field(description="When it will have ended, while it runs and that can be told.")
    stuck_since: Time | None = Field(
        description="When it was last heard of, while it runs and nothing has been for long."
    )
    held_up: HeldUp | None = Field(
        description="What holds it up where items that have not ended come from, while it runs and something "
        "does. Only where one job is asked for; null in lists."
    )
    stages: list[JobStage] = Field(description="Those that items have passed, in their order.")
    result: str = Field(description="Where its kind's own API shows it, for its owner.")


class AnyJobQuery(PageQuery):
    """Which jobs are wanted."""

    kind: JobKind | None = None
    state: JobStateName | None = None
    outcome: JobOutcome | None = None
    since: Instant | None = Field(None, description="Only jobs submitted at or after this instant.")
    q: str | None = Field(
        None, max_length=100, description="Only jobs whose id, or client's id, begins with this."
    )


class JobItem(AnswerModel):
    """One item of a job, without what it is about."""

    item: int = Field(description="The item's position, from 0.")
    state: ItemStateName
    stage: Stage | None = Field(description="The step that failed, or that is tried again.")
    attempt: int | None = Field(description="How often it was tried, while it is tried again.")
    error: ErrorBody | None
    file: str | None = Field(description="Id of the file that a document became.")
    updated_on: Time


class JobItemsQuery(PageQuery):
    """Which of a job's items are wanted."""

    state: ItemStateName | None = Field(None, description="Only items in this state.")
