"""What one event says of one item, and which of two such sayings stands.

A row is always the greatest of the rows that its item's events make, in the one total order defined here.
That is why events may come twice, or in any order, and the result is the same. `store` applies the same order
in SQL; a test holds the two together.
"""

from __future__ import annotations

from typing import NamedTuple

from sluice_contracts.events import (
    DocumentAttached,
    DocumentFetched,
    DocumentScraped,
    Event,
    FileLoaded,
    FileOutcome,
    ImportSettled,
    ItemCancelled,
    ItemEvent,
    ItemFailed,
    ItemRetrying,
    PartSealed,
)
from sluice_contracts.progress import ItemRank

# Plain numbers: the fold compares some ten thousand of them a second.
_RETRYING = int(ItemRank.RETRYING)
_SKIPPED = int(ItemRank.SKIPPED)
RANKS: dict[type[Event], int] = {
    ItemRetrying: _RETRYING,
    DocumentFetched: int(ItemRank.FETCHED),
    DocumentScraped: int(ItemRank.SCRAPED),
    ItemCancelled: int(ItemRank.CANCELLED),
    ItemFailed: int(ItemRank.FAILED),
    DocumentAttached: int(ItemRank.ATTACHED),
    # A part of an export has taken effect when it is sealed.
    PartSealed: int(ItemRank.ATTACHED),
    # So has a file of an import when it is loaded, and the import's last item when all its files have ended.
    FileLoaded: int(ItemRank.ATTACHED),
    ImportSettled: int(ItemRank.ATTACHED),
}
FINAL = int(ItemRank.CANCELLED)

# Postgres keeps times as microseconds since 2000, rounded from this very product.
_POSTGRES_EPOCH = 946_684_800.0


class ItemRow(NamedTuple):
    """One item as `status.job_items` holds it. `at` is Unix seconds, `size` bytes."""

    rank: int
    at: float
    stage: str | None = None
    code: str | None = None
    file: str | None = None
    file_outcome: str | None = None
    attempt: int | None = None
    source_status: int | None = None
    size: int | None = None


def rank_of(event: ItemEvent) -> int:
    """Give the rank that this event lifts its item to."""
    if type(event) is DocumentAttached and event.outcome is FileOutcome.SKIPPED:
        return _SKIPPED
    return RANKS[type(event)]


def row_of(event: ItemEvent) -> ItemRow:
    """Give the row that this event alone would make."""
    rank = rank_of(event)
    if isinstance(event, DocumentAttached):
        return ItemRow(rank, event.at, file=event.file, file_outcome=str(event.outcome), size=event.size)
    if isinstance(event, ItemFailed):
        return ItemRow(
            rank, event.at, stage=str(event.stage), code=event.code, source_status=event.source_status
        )
    if isinstance(event, ItemRetrying):
        return ItemRow(rank, event.at, stage=str(event.stage), code=event.code, attempt=event.attempt)
    if isinstance(event, DocumentFetched | PartSealed | FileLoaded):
        return ItemRow(rank, event.at, size=event.size)
    return ItemRow(rank, event.at)


def micros(at: float) -> int:
    """Give the instant as Postgres keeps it, so that two times are equal here when they are equal there."""
    return round((at - _POSTGRES_EPOCH) * 1e6)


def instant(at: float) -> float:
    """Give the Unix seconds that Postgres gives back for this instant."""
    return (int(_POSTGRES_EPOCH) * 1_000_000 + micros(at)) / 1_000_000


def order(row: ItemRow) -> tuple[int, int, tuple[str, str, str, str, int, int, int]]:
    """Give a key by which rows of one item compare; the greatest stands.

    Of two events of one rank the earlier one stands, because an item reaches a rank once; only of two retries
    it is the later one. What then still ties differs in content alone: any fixed choice will do.
    """
    moment = micros(row.at)
    return (
        row.rank,
        moment if row.rank == _RETRYING else -moment,
        (
            row.stage or "",
            row.code or "",
            row.file or "",
            row.file_outcome or "",
            -1 if row.attempt is None else row.attempt,
            -1 if row.source_status is None else row.source_status,
            -1 if row.size is None else row.size,
        ),
    )
