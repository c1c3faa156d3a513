"""What the service needs of its tables, in its own words; see `sluice_webhooks.postgres`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

MOST_OF_ONE = 4
"""How many deliveries to one endpoint are under way at once."""
Offsets = Mapping[tuple[str, int], int]
"""Offsets by topic and partition."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event that endpoints may want to hear of.

    `message` is its id, `body` what is sent, `job` whose it is by, `at` when it happened (Unix seconds).
    """

    message: str
    type: str
    job: str
    body: bytes
    at: float


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery to be tried now; `attempts` counts this one too.

    `secret`, and `previous` if the one before still counts, are sealed.
    """

    id: int
    client: str
    endpoint: str
    url: str
    secret: bytes
    previous: bytes | None
    message: str
    body: bytes
    attempts: int
    created_at: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """How a try ended: the HTTP status of the answer, or why there was none."""

    status: int | None = None
    error: str | None = None

    @property
    def taken(self) -> bool:
        """Whether the endpoint has it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether the endpoint says that it wants nothing any more (410)."""
        return self.status == 410


class FoldStore(Protocol):
    """Where events become deliveries."""

    async def positions(self, topic: str, partitions: Collection[int]) -> dict[int, int]:
        """Give the offsets to read from; where there is none yet it is 0."""

    async def wanted(self) -> frozenset[str]:
        """Give the types that any enabled endpoint wants."""

    async def fold(
        self,
        expected: Offsets,
        ahead: Offsets,
        owners: Mapping[str, tuple[str, datetime]],
        told: Sequence[Told],
        at: datetime,
        until: datetime,
    ) -> int:
        """Note whose jobs are, add the deliveries that endpoints want, and go ahead; all of it or nothing.

        Parameters
        ----------
        owners
            By job its client, and when it was planned.

        Raises
        ------
        Fenced
            The offsets are not where they were expected.
        Unavailable
            The database is away.
        """


class SendStore(Protocol):
    """Where deliveries wait."""

    async def claim(
        self, now: datetime, again: datetime, free: int, busy: Sequence[str], held: Mapping[str, int]
    ) -> list[Due]:
        """Take deliveries that are due, few of one endpoint and none of those that are busy.

        Whoever dies with one leaves it to be due `again`.

        Parameters
        ----------
        free
            How many places there are. No client is given one while it has more than are free: as many clients
            as want all of them have equal shares, and one share stays free for whoever comes next.
        held
            How many places clients have already.
        """

    async def delivered(self, due: Due, attempt: Attempt, now: datetime) -> None:
        """Note that the endpoint has it."""

    async def postpone(self, due: Due, attempt: Attempt, until: datetime) -> None:
        """Note that it was not taken, and when it is tried next."""

    async def fail(self, due: Due, attempt: Attempt, now: datetime, note: str) -> bool:
        """Note that it is given up; disable the endpoint with a note, and say whether that was done.

        An endpoint that took something since the delivery was made stays as it is, unless it says itself that
        it is gone.
        """

    async def forget(self, before: datetime, jobs_before: datetime) -> None:
        """Remove what ended, and jobs that were planned, before."""
