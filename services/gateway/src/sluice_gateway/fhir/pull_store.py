"""What the gateway needs to know of bulk imports, in its own words; see `sluice_gateway.stores.pulls`."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self

from sluice_storage.resources.model import Range


@dataclass(frozen=True, slots=True)
class PullRow:
    """A bulk import as it stands, whoever asks.

    Parameters
    ----------
    client, subject
        Whose it is.
    submitted_at, finished_at
        When it was accepted, and when it ended.
    outcome
        `completed`, `cancelled` or `failed` once it has ended.
    progress
        Per cent at the source, as far as that says.
    files, settled
        How many files there are (None: not known yet), and how many of them have ended.
    lines, expected
        Lines read so far, and how many there are to be; None where the source does not say.
    problems
        How many lines the file of errors has.
    failed, failed_status
        Why there are no files, or why the import was given up with them: an item's error, and the HTTP status
        of the source's answer.
    gone
        It was deleted or cancelled.
    source_time
        As of when the data are, as the source says: what changed there later is not among them.
    base
        The source's base URL, once the files are known.
    """

    client: str
    subject: str
    submitted_at: datetime | None
    finished_at: datetime | None
    outcome: str | None
    progress: int | None
    files: int | None
    settled: int
    lines: int
    expected: int | None
    problems: int
    failed: str | None
    failed_status: int | None
    gone: bool
    source_time: datetime | None = None
    base: str | None = None

    @classmethod
    def accepted(cls, client: str, subject: str, at: datetime) -> Self:
        """Give an import of which nothing but its acceptance is known yet."""
        return cls(
            client=client,
            subject=subject,
            submitted_at=at,
            finished_at=None,
            outcome=None,
            progress=None,
            files=None,
            settled=0,
            lines=0,
            expected=None,
            problems=0,
            failed=None,
            failed_status=None,
            gone=False,
        )


@dataclass(frozen=True, slots=True)
class PulledFile:
    """What became of a file; counts are of lines, `deleted` of resources, `listed` of bad lines by number.

    `nameless` lines had no id and got one.
    """

    item: int
    kind: str
    type: str | None
    expected: int | None
    failed: str | None
    failed_status: int | None
    read: int
    created: int
    updated: int
    unchanged: int
    stale: int
    invalid: int
    deleted: int
    size: int
    nameless: int
    listed: int


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that was not loaded, and why: a `LineProblem`."""

    line: int
    code: str


@dataclass(frozen=True, slots=True)
class Unresolved:
    """References to resources of a type that are nowhere: how many of them, and the first ids."""

    type: str
    total: int
    ids: tuple[str, ...]


class PullStore(Protocol):
    """Where bulk imports are read. `job` is a UUID in its one spelling, or nothing is asked."""

    def get(self, job: str) -> Awaitable[PullRow | None]:
        """Give the import, None if nothing is known of it (yet)."""

    async def files(self, job: str, after: int, limit: int) -> Sequence[PulledFile]:
        """Give files that have ended, in their order, after the one with this number."""

    async def lines(self, job: str, item: int, after: int, limit: int) -> Sequence[BadLine]:
        """Give a file's bad lines, in their order, after this one."""

    async def unresolved(self, job: str) -> Sequence[Unresolved]:
        """Give what the import's resources refer to and that is nowhere, by type."""

    async def patients(self, job: str, after: str, limit: int) -> Sequence[str]:
        """Give patients in whose compartments the import's resources are, in their order, after this one."""

    async def kept(self, job: str) -> Mapping[str, Sequence[Range]]:
        """Give the places, by type, of resources that the import brought and that were there before."""

    async def withdraw(self, job: str, at: datetime) -> bool:
        """Delete the import for everyone to see; say whether it was not deleted before."""
