"""What the fetcher keeps, in the words of its own domain. `sluice_fetcher.postgres` keeps it in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sluice_contracts.commands import StartDocumentImport


@dataclass(frozen=True, slots=True)
class WaitingItem:
    """An item as the fetch step needs it.

    Parameters
    ----------
    reference
        The DocumentReference's URI, as the caller gave it.
    source
        The registered source's id.
    cancelled
        Whether its job was cancelled.
    fetched
        The size in bytes of what was already fetched, None if nothing was.
    """

    reference: str
    source: str
    cancelled: bool
    fetched: int | None


@dataclass(frozen=True, slots=True)
class Body:
    """A DocumentReference as it is kept."""

    data: bytes
    etag: str | None
    version: str | None


class Jobs(Protocol):
    """Jobs and the items they were split into."""

    async def plan(self, command: StartDocumentImport) -> None:
        """Keep a job and its items. A second time, or after its cancellation, changes nothing of either.

        Raises
        ------
        Unavailable
            The database is away.
        """

    async def cancel(self, job: str) -> None:
        """Mark a job cancelled, also one that is not here yet.

        Raises
        ------
        Unavailable
            The database is away.
        """


class Documents(Protocol):
    """Items and the bodies fetched for them. Calls made together share their round trips."""

    async def find(self, job: str, items: Sequence[int]) -> Sequence[WaitingItem | None]:
        """Give these items of a job, None for one that is not here (any more).

        Raises
        ------
        Unavailable
            The database is away.
        """

    async def keep(self, job: str, bodies: Sequence[tuple[int, Body]]) -> None:
        """Keep the bodies of a job's items; the first one kept of each stays.

        Raises
        ------
        Unavailable
            The database is away.
        """
