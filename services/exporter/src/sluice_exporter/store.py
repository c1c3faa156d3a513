"""What the exporter keeps and reads, in the words of its own domain.

`sluice_exporter.postgres` keeps it in Postgres; resources are read by `sluice_storage.resources`, whose
`Planner`, `Reader` and `Groups` satisfy the protocols here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sluice_contracts.commands import StartBulkExport
from sluice_exporter.plan import JobFacts, PartPlan, SealedFile, SealedPart
from sluice_storage.access.model import Grant
from sluice_storage.encryption.keys import DataKey
from sluice_storage.resources.model import (
    Chunk,
    Deleted,
    Member,
    Part,
    PatientChunk,
    Place,
    Snapshot,
    Window,
)


@dataclass(frozen=True, slots=True)
class WaitingPart:
    """A part as its step needs it.

    Parameters
    ----------
    facts
        The job.
    plan
        What the part covers.
    stopped
        The job was cancelled or deleted.
    sealed
        What was sealed already, if it was.
    data_key
        What encrypts its files, if there are any to be written.
    """

    facts: JobFacts | None
    plan: PartPlan | None
    stopped: bool
    sealed: SealedPart | None
    data_key: DataKey | None


class Jobs(Protocol):
    """Jobs and the parts they are cut into.

    Every method raises `Unavailable` when the database is away.
    """

    async def begin(self, command: StartBulkExport, snapshot: Snapshot, keep: timedelta) -> JobFacts | None:
        """Keep the job, and give it with the snapshot that was kept first; None if it was deleted."""

    async def plan(self, job: str, parts: AsyncIterator[Sequence[PartPlan]]) -> int:
        """Keep the job's parts, numbered in their order; give how many. What was planned once stays."""

    async def cancel(self, job: str) -> None:
        """Mark a job cancelled, also one that is not here yet."""


class Parts(Protocol):
    """Parts, and the files they are sealed with.

    Every method raises `Unavailable` when the database is away.
    """

    async def find(self, job: str, part: int) -> WaitingPart | None:
        """Give a part; None if there is no such job, or it has no such part.

        Its job gets a data key with the first part that is found and not written yet.

        Raises
        ------
        LostKeyError
            The job's data key cannot be unwrapped.
        """

    async def stopped(self, job: str) -> bool:
        """Say whether the job was cancelled or deleted."""

    async def seal(
        self, job: str, part: int, files: Sequence[SealedFile], at: datetime, *, failed: str | None = None
    ) -> SealedPart | None:
        """List the files, all at once, and give what is sealed now: what was sealed first.

        With `failed` the part is given up, for that reason, and the files say so.

        None: the job was cancelled or deleted, and nothing is listed.
        """


class GrantReader(Protocol):
    """Where grants are; see `sluice_storage.access.grants.Grants`."""

    def of(self, client: str, subject: str) -> Awaitable[tuple[Grant, ...]]:
        """Give the grants that count now for a token of this client and this subject."""


class StorePlanner(Protocol):
    """See `sluice_storage.resources.planner.Planner`."""

    async def snapshot(self) -> Snapshot: ...  # noqa: D102
    async def known_types(self, snapshot: Snapshot) -> tuple[str, ...]: ...  # noqa: D102
    async def patients(  # noqa: D102
        self, window: Window, *, after: int = ..., limit: int = ...
    ) -> Sequence[Place]: ...
    async def parts(  # noqa: D102
        self, types: Sequence[str], window: Window, *, compartment: bool = False, part_bytes: int = ...
    ) -> list[Part]: ...
    async def deleted_parts(  # noqa: D102
        self,
        types: Sequence[str],
        window: Window,
        *,
        patients: Sequence[str] | None = None,
        compartment: bool = False,
    ) -> list[Part]: ...
    async def patient_parts(  # noqa: D102
        self, types: Sequence[str], patients: Sequence[str], window: Window, *, part_bytes: int = ...
    ) -> list[Part]: ...


class StoreGroups(Protocol):
    """See `sluice_storage.resources.groups.Groups`."""

    async def members(self, group: str) -> tuple[Member, ...]: ...  # noqa: D102


class StoreReader(Protocol):
    """See `sluice_storage.resources.reader.Reader`."""

    def worked(  # noqa: D102
        self, part: Part, window: Window, work: Callable[[Chunk], None]
    ) -> AsyncGenerator[None]: ...
    def lines(self, part: Part, window: Window) -> AsyncGenerator[list[bytes]]: ...  # noqa: D102
    def deleted(self, part: Part, window: Window) -> AsyncGenerator[list[Deleted]]: ...  # noqa: D102
    def by_patient(  # noqa: D102
        self,
        types: Sequence[str],
        patients: Sequence[str],
        window: Window,
        *,
        at_any_time: Collection[str] = ...,
    ) -> AsyncGenerator[PatientChunk]: ...
