"""A batch's items as rows, in the shape in which one COPY takes all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sluice_contracts.events import (
    DocumentAttached,
    DocumentFetched,
    FileLoaded,
    ItemFailed,
    ItemRetrying,
    PartSealed,
)
from sluice_status.batch import News

COLUMNS = (
    "job",
    "item",
    "rank",
    "at",
    "size",
    "file",
    "file_outcome",
    "stage",
    "code",
    "attempt",
    "source_status",
)
"""What a row holds; `job` is a position, from 1, in the list of the batch's jobs."""

Row = tuple[Any, ...]


def table(news: Mapping[str, News]) -> list[Row]:
    """Give the rows of all jobs' items, in the order of `news`."""
    rows: list[Row] = []
    add = rows.append
    for job, told in enumerate(news.values(), 1):
        for item, (rank, it) in told.items.items():
            if type(it) is DocumentAttached:
                add((job, item, rank, it.at, it.size, it.file, it.outcome, None, None, None, None))
            elif type(it) is DocumentFetched or type(it) is PartSealed or type(it) is FileLoaded:
                add((job, item, rank, it.at, it.size, None, None, None, None, None, None))
            elif type(it) is ItemFailed:
                add((job, item, rank, it.at, None, None, None, it.stage, it.code, None, it.source_status))
            elif type(it) is ItemRetrying:
                add((job, item, rank, it.at, None, None, None, it.stage, it.code, it.attempt, None))
            else:
                add((job, item, rank, it.at, None, None, None, None, None, None, None))
    return rows
