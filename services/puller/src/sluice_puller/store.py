"""What the puller keeps, in the words of its own domain; `sluice_puller.postgres_*` keep it in Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from sluice_contracts.commands import StartBulkImport
from sluice_contracts.imports import ImportRequest, PulledKind
from sluice_fhir.export_manifest import ListedFile


class Phase(StrEnum):
    """What a job is about at its source."""

    STARTING = "starting"
    POLLING = "polling"
    LOADING = "loading"
    RELEASING = "releasing"
    DONE = "done"

    @property
    def open(self) -> bool:
        """Whether the job has not ended."""
        return self in (Phase.STARTING, Phase.POLLING, Phase.LOADING)


@dataclass(frozen=True, slots=True)
class PullJob:
    """A job as it stands.

    Parameters
    ----------
    client, subject, submitted_at
        What its start said; None if that has not come yet.
    request
        What is asked for; None when nothing is asked any more.
    phase, turn, strikes
        What is next, how many steps were taken, and how many failures of the source there were in a row.
    waited
        How long its export has been waited for: what was to be waited between steps, and not what happened
        to us meanwhile.
    poll_url
        Where the export's status is at the source.
    files, settled
        How many files there are (None: not planned), and how many of them have ended.
    decided, planned_at
        In which turn, and when, it was planned or failed.
    strict
        It is wanted whole or not at all: nothing is told of its files before all of it is there.
    failed, failed_status
        Why it could not be planned, or not be brought to its end, and the HTTP status of the source's answer.
    finished_at, cancelled_at
        When all its files had ended, or when it was cancelled.
    """

    job: str
    client: str | None
    subject: str | None
    submitted_at: datetime | None
    request: ImportRequest | None
    phase: Phase
    turn: int
    strikes: int
    waited: timedelta
    poll_url: str | None
    files: int | None
    settled: int
    decided: int | None
    planned_at: datetime | None
    strict: bool
    failed: str | None
    failed_status: int | None
    finished_at: datetime | None
    cancelled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Next:
    """When a job's next step is due, and what is known by then.

    Parameters
    ----------
    due
        When.
    waited
        How long that is from now.
    strikes
        Failures of the source in a row.
    poll_url
        Where to poll; None: as before.
    progress
        Per cent, as the source says; None, or less than before: as before.
    """

    due: datetime
    waited: timedelta
    strikes: int = 0
    poll_url: str | None = None
    progress: int | None = None


@dataclass(frozen=True, slots=True)
class FilesPlan:
    """A source's manifest, all pages of it; `base` is the source's base URL."""

    base: str
    transaction_time: datetime | None
    needs_token: bool
    files: Sequence[ListedFile]


@dataclass(frozen=True, slots=True)
class Due:
    """A job whose step of this turn is due, and the `traceparent` of the request that it belongs to."""

    job: str
    turn: int
    trace: str | None


class Jobs(Protocol):
    """Jobs' rows. Every method raises `Unavailable` when the database is away.

    A step is taken in a turn; what it comes to is kept only if the job is still in this turn and neither
    cancelled nor deleted.
    """

    async def begin(self, command: StartBulkImport, now: datetime, lease: timedelta) -> PullJob:
        """Keep a job that is new, its first step due again when the lease is over; give it as it stands."""

    async def get(self, job: str) -> PullJob | None:
        """Give a job."""

    async def wait(self, job: str, turn: int, then: Next) -> None:
        """End a turn without a decision."""

    async def plan(self, job: str, turn: int, plan: FilesPlan, at: datetime) -> None:
        """End a turn with files."""

    async def fail(self, job: str, turn: int | None, code: str, status: int | None, at: datetime) -> None:
        """End a turn, or whichever it is, with a failure."""

    async def abandon(self, job: str, code: str, at: datetime) -> None:
        """End a job that cannot be brought to its end, however far it is; files that have not ended fail."""

    async def lost(self, job: str) -> list[int]:
        """Give the files that failed because their job was abandoned."""

    async def cancel(self, job: str, at: datetime) -> None:
        """Mark a job cancelled unless it has ended, also one that is not here yet."""

    async def retire(self, job: str, at: datetime) -> None:
        """Have nothing done any more for a cancelled job, but what its export at the source needs."""

    async def done(self, job: str, turn: int) -> None:
        """Forget how to reach the source: nothing is asked there any more."""

    async def unsettled(self, job: str) -> list[int]:
        """Give the files that have not ended."""

    async def due(self, now: datetime, lease: timedelta, most: int) -> Sequence[Due]:
        """Claim jobs whose step is due: it is due again when the lease is over."""

    async def removed(self, job: str) -> bool:
        """Say whether what a job loaded has been taken back."""


class Removals(Protocol):
    """Jobs whose data are to be taken back. Every method raises `Unavailable` when the database is away."""

    async def claim(self, now: datetime, lease: timedelta) -> str | None:
        """Claim a job of which that is due, if there is one: it is due again when the lease is over."""

    async def renew(self, job: str, until: datetime) -> None:
        """Have it due later, if it still is."""

    async def removed(self, job: str, at: datetime) -> None:
        """Note that nothing of it is left."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a file's lines; see `pulls.files`."""

    read: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    stale: int = 0
    invalid: int = 0
    deleted: int = 0
    size: int = 0
    nameless: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """How a file has ended.

    Parameters
    ----------
    at
        When.
    counts
        What became of its lines.
    failed, status
        Why it was not loaded, if it was not: an item's error and the HTTP status of the source's answer.
    last
        All files of the job have ended; then how many there are.
    """

    at: datetime
    counts: Loaded
    failed: str | None = None
    status: int | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class WaitingFile:
    """A file as its step needs it.

    Parameters
    ----------
    source
        The source's id; None when nothing is asked there any more.
    needs_token
        Whether it is protected as the export is.
    kind, type, url, expected
        As the manifest lists it.
    base, claims, submitted
        As the job's request says.
    stopped
        The job was cancelled or deleted.
    strict
        The job is wanted whole or not at all.
    settled
        How it has ended, if it has.
    """

    source: str | None
    needs_token: bool
    kind: PulledKind | None
    type: str | None
    url: str | None
    expected: int | None
    base: str | None
    claims: bool
    submitted: str | None
    stopped: bool
    strict: bool
    settled: Settled | None


@dataclass(frozen=True, slots=True)
class Finished:
    """All files of a job have ended: when, how many there are, how many failed, and why the first did.

    `abandoned`: the job was not brought to its end, or is wanted whole and is not; `code` says why. Of a
    `strict` job nothing was told yet of its files.
    """

    at: datetime
    files: int
    failed: int
    code: str | None
    status: int | None
    abandoned: bool = False
    strict: bool = False


class Files(Protocol):
    """Files' rows. Every method raises `Unavailable` when the database is away."""

    async def find(self, job: str, item: int) -> WaitingFile | None:
        """Give a file; None if there is no such job, or it has no such file and was not stopped."""

    async def stopped(self, job: str) -> bool:
        """Say whether the job was cancelled or deleted."""

    async def settle(
        self,
        job: str,
        item: int,
        counts: Loaded,
        at: datetime,
        *,
        issues: Mapping[int, str] | None = None,
        failed: str | None = None,
        status: int | None = None,
    ) -> Settled | None:
        """Keep how a file has ended, with codes by line, and give what is kept: what was kept first.

        None: the job was cancelled or deleted, and nothing is kept.
        """

    async def ended(self, job: str) -> Sequence[tuple[int, WaitingFile]]:
        """Give the files of a job that has ended."""

    async def finish(self, job: str, at: datetime) -> Finished | None:
        """End a job whose files have all ended, and give how it ended first.

        The MeasureReport that its data were submitted with is stored in the same transaction, unless none of
        its files could be loaded. None: it was cancelled or deleted, or some file has not ended.
        """
