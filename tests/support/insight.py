"""Insight's fold over plain dictionaries."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from sluice_contracts.events import Event, ItemRetrying, Stage
from sluice_insight.folding import Dimension, Folder, job_key
from sluice_insight.jobs import JobView
from sluice_insight.rates import KEPT, Series, Window
from sluice_insight.rows import Rows
from sluice_insight.watching import totals
from sluice_streaming.clock import ManualClock
from support.histories import BEGAN, job_number, planned

JOB = job_number(1)


class Site:
    """A folder over plain dictionaries, with a clock that tests move."""

    def __init__(self) -> None:
        self.clock = ManualClock(BEGAN + 60)
        self.jobs: dict[str, bytes] = {}
        self.rates: dict[str, bytes] = {}
        self.refused: list[Exception] = []
        self.folder = Folder(Rows(self.jobs, JobView), Rows(self.rates, Series), self.clock.now)

    def hear(self, *events: Event, partition: int = 0) -> None:
        """Fold events of one partition."""
        self.folder.fold([(partition, event) for event in events], self.refused.append)

    def job(self, job: str = JOB, partition: int = 0) -> JobView:
        """Give a job's row."""
        return self.folder.jobs[job_key(partition, job)]

    def total(self, name: str, dimension: Dimension = Dimension.SOURCE, seconds: float = KEPT) -> Window:
        """Give what a source or client did lately."""
        found = totals(self.folder.rates, dimension, self.clock.now(), seconds)
        return found.get(name, Window())


def plan(items: int, **more: Any) -> Event:
    """Give the plan of `JOB`, whose items are on the server `s1`."""
    return replace(planned(JOB, items), **{"sources": ("s1",), **more})


def retrying(item: int, due: float, code: str = "source_timeout") -> ItemRetrying:
    """Give a try of an item that failed and is to be repeated."""
    return ItemRetrying(job=JOB, at=BEGAN + 5, item=item, stage=Stage.FETCH, code=code, attempt=1, due=due)
