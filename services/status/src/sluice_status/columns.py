"""A batch's items as columns, the shape in which one statement can take all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sluice_contracts.events import DocumentAttached, DocumentFetched, ItemFailed, ItemRetrying
from sluice_status.batch import News


@dataclass(slots=True)
class Columns:
    """Item rows, a list per column; `job` is a position, from 1, in the list of the batch's jobs."""

    job: list[int] = field(default_factory=list)
    item: list[int] = field(default_factory=list)
    rank: list[int] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    size: list[int | None] = field(default_factory=list)
    file: list[str | None] = field(default_factory=list)
    file_outcome: list[str | None] = field(default_factory=list)
    stage: list[str | None] = field(default_factory=list)
    code: list[str | None] = field(default_factory=list)
    attempt: list[int | None] = field(default_factory=list)
    source_status: list[int | None] = field(default_factory=list)

    def arrays(self) -> tuple[list[Any], ...]:
        """Give the columns in the order in which the statement takes them."""
        return (
            self.job,
            self.item,
            self.rank,
            self.at,
            self.size,
            self.file,
            self.file_outcome,
            self.stage,
            self.code,
            self.attempt,
            self.source_status,
        )


def columns(news: Mapping[str, News]) -> Columns:
    """Give the rows of all jobs' items, in the order of `news`."""
    out = Columns()
    for number, told in enumerate(news.values(), 1):
        for position, (rank, event) in told.items.items():
            out.job.append(number)
            out.item.append(position)
            out.rank.append(rank)
            out.at.append(event.at)
            size = file = file_outcome = stage = code = attempt = source_status = None
            if isinstance(event, DocumentAttached):
                size, file, file_outcome = event.size, event.file, event.outcome
            elif isinstance(event, DocumentFetched):
                size = event.size
            elif isinstance(event, ItemFailed):
                stage, code, source_status = event.stage, event.code, event.source_status
            elif isinstance(event, ItemRetrying):
                stage, code, attempt = event.stage, event.code, event.attempt
            out.size.append(size)
            out.file.append(file)
            out.file_outcome.append(file_outcome)
            out.stage.append(stage)
            out.code.append(code)
            out.attempt.append(attempt)
            out.source_status.append(source_status)
    return out
