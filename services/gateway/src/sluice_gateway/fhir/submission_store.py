"""What the gateway keeps of bulk submissions, in its own words; see `sluice_gateway.stores.submissions`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sluice_contracts.commands import StartBulkImport
from sluice_gateway.fhir.submission_declared import SubmissionStatus
from sluice_gateway.fhir.submission_parameters import SubmittedManifest, Submitter


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """A manifest of a submission.

    Parameters
    ----------
    number
        From 1, in the order in which they came.
    url, base
        As it was submitted.
    replaces
        The number of the manifest whose place it takes.
    job
        The import that loads it.
    start
        The import's first record, until that is known to be on Kafka.
    replaced_at
        When it was replaced, or taken back without a successor.
    removed
        What it loaded has been taken back.
    """

    number: int
    url: str
    base: str
    replaces: int | None
    job: str
    start: StartBulkImport | None
    replaced_at: datetime | None
    removed: bool


@dataclass(frozen=True, slots=True)
class SubmissionRow:
    """A submission, with its manifests in their order.

    Parameters
    ----------
    id
        Ours; `name` is the submitter's.
    created_at, ended_at
        When its first request came, and when it was completed or stopped.
    asked
        Its status was asked for, and that was not deleted.
    """

    id: str
    client: str
    subject: str
    name: str
    status: SubmissionStatus
    created_at: datetime
    ended_at: datetime | None
    asked: bool
    manifests: Sequence[ManifestRow]


class OpenSubmission(Protocol):
    """A submission while it is changed: nobody else changes it meanwhile."""

    @property
    def row(self) -> SubmissionRow:
        """How it stood when it was opened."""

    async def add(self, manifest: SubmittedManifest, replaces: int | None, start: StartBulkImport) -> None:
        """Add a manifest, which `start` will load."""

    async def discard(self, number: int, at: datetime) -> None:
        """Stop a manifest's import, and have what it loaded taken back."""

    async def end(self, status: SubmissionStatus, at: datetime) -> None:
        """Note that there will be no more of it."""


class SubmissionStore(Protocol):
    """Where submissions are kept. `submission` is a UUID in its one spelling, or nothing is asked."""

    def open(
        self, client: str, subject: str, submitter: Submitter, at: datetime
    ) -> AbstractAsyncContextManager[OpenSubmission]:
        """Open a submission, which is made if it is not there; an error inside changes nothing."""

    async def ask(self, client: str, subject: str, submitter: Submitter, at: datetime) -> str | None:
        """Note that a submission's status is asked for, and give its id; None if there is none."""

    async def get(self, submission: str) -> SubmissionRow | None:
        """Give a submission."""

    async def forget(self, submission: str) -> None:
        """Note that its status is not asked for any more."""

    async def published(self, jobs: Sequence[str]) -> None:
        """Note that these imports' first records are on Kafka."""
