"""What the fold needs of the database, as a protocol: Postgres in production, memory in tests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from sluice_status.batch import Batch, Dead
from sluice_status.jobs import Ending, Job, Tally

Offsets = Mapping[tuple[str, int], int]
"""Offsets by topic and partition."""


class RefusedError(Exception):
    """The database does not take this content, and will not when asked again."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """A message decided on in a transaction, to be published once that is committed.

    `partition` is that of the record that led to it, `type` the message's name, `body` its JSON, `trace` the
    `traceparent` of that record.
    """

    partition: int
    job: str
    type: str
    body: bytes
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class Announced:
    """An announcement as the outbox holds it; they are published in the order of `seq`."""

    seq: int
    job: str
    type: str
    body: bytes
    trace: str | None = None


class Transaction(Protocol):
    """One fold transaction. It holds the jobs it locked until its end, so that what it reads stays true."""

    async def lock(self, jobs: Collection[str]) -> dict[str, Job]:
        """Give these jobs as they stand, held until the end; jobs not known yet come into being."""

    async def lift(self, batch: Batch) -> dict[str, Tally]:
        """Let the batch's items stand where they are greater than what is there.

        Gives, per job, how many items more (or fewer) are now in each final state. Items that do not change
        do not count, so the same batch again gives nothing.
        """

    async def endings(self, jobs: Mapping[str, int]) -> dict[str, Ending]:
        """Give what the item rows say of these jobs' ends; the mapping gives their planned items."""

    async def save(self, jobs: Sequence[Job]) -> None:
        """Write these jobs, all of them locked before."""

    async def announce(self, announcements: Sequence[Announcement]) -> None:
        """Put announcements into the outbox, in this order."""

    async def bury(self, dead: Sequence[Dead]) -> None:
        """Note where malformed records are, and forget the oldest notes above a cap."""


class Ledger(Protocol):
    """The jobs, their items, the offsets and the outbox."""

    async def positions(self, topic: str, partitions: Collection[int]) -> dict[int, int]:
        """Give, for each partition, the offset of the first record that is not folded yet; 0 at first."""

    def transaction(self, expected: Offsets, ahead: Offsets) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction that moves the offsets from `expected` to `ahead`, all or nothing.

        Raises
        ------
        Fenced
            The offsets are not the expected ones: someone else folds these partitions, or a commit whose
            answer was lost did take effect. Ask for positions again.
        RefusedError
            Something in the batch cannot be stored.
        Unavailable
            The database is away; nothing was written, or an answer was lost. Try again.
        """

    async def outbox(self, partitions: Collection[int], limit: int) -> list[Announced]:
        """Give the oldest announcements of these partitions that are not known to be published."""

    async def published(self, announced: Sequence[Announced]) -> None:
        """Take these announcements out of the outbox, and note the time on finished jobs."""
