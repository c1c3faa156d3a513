"""What the scraper reads and keeps, in the words of its own domain. `sluice_scraper.postgres` does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FetchedItem:
    """An item as the scrape step needs it.

    Parameters
    ----------
    source
        The registered source's id.
    cancelled
        Whether its job was cancelled.
    size
        The DocumentReference's bytes, None if it was not fetched.
    body
        The DocumentReference, if it is small; a large one is asked for by `Items.body`.
    metadata
        The caller's, as the JSON it came as.
    scraped
        The metadata made before, with the number of required keys it lacks; None if there is none.
    """

    source: str
    cancelled: bool
    size: int | None
    body: bytes | None
    metadata: bytes | None
    scraped: tuple[bytes, int] | None


@dataclass(frozen=True, slots=True)
class ScrapedItem:
    """Metadata as it is kept: a flat JSON object, the required keys it lacks, the schema it was made with."""

    metadata: bytes
    warnings: tuple[str, ...]
    schema: str


class Items(Protocol):
    """Items and their metadata. Calls made together share their round trips."""

    async def find(self, job: str, items: Sequence[int]) -> Sequence[FetchedItem | None]:
        """Give these items of a job, None for one that is not here (any more).

        Raises
        ------
        Unavailable
            The database is away.
        """

    async def body(self, job: str, item: int) -> bytes | None:
        """Give a large DocumentReference, None if it is not here (any more).

        Raises
        ------
        Unavailable
            The database is away.
        """

    async def keep(self, job: str, scraped: Sequence[tuple[int, ScrapedItem]]) -> None:
        """Keep the metadata of a job's items; the first that was kept of each stays.

        Raises
        ------
        Unavailable
            The database is away.
        """
