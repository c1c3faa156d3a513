"""The fold: events in, rows of jobs and rates out. It knows neither Kafka nor Faust, only two mappings.

A row's key begins with the partition of `jobs.events` that it was told on, so that a partition's rows, and
what they are restored from, go where the partition goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from enum import StrEnum

from sluice_contracts.events import Event
from sluice_contracts.ids import is_job_id
from sluice_insight.items import Told, told
from sluice_insight.jobs import JobView, end, hear, sample
from sluice_insight.rates import Series, Window

FINISHED_KEPT = 600.0
"""Seconds for which a job is kept after its end: whatever is told again by then still finds it."""
SILENT_KEPT = 7 * 86400.0
"""Seconds after which a job of which nothing is heard is forgotten, as its commands are."""
UNPLANNED_KEPT = 3600.0
"""The same for one whose plan was never seen."""

Placed = tuple[int, Event]
"""A partition of `jobs.events` and an event that was read from it."""


class Dimension(StrEnum):
    """What rates are told by."""

    SOURCE = "source"
    CLIENT = "client"


def job_key(partition: int, job: str) -> str:
    """Give the key of a job's row."""
    return f"{partition}/{job}"


def rate_key(partition: int, dimension: Dimension, name: str) -> str:
    """Give the key of a source's or client's row."""
    return f"{partition}/{dimension}/{name}"


def partition_of(key: str) -> int:
    """Give the partition that a row belongs to."""
    return int(key.partition("/")[0])


def job_of(key: str) -> str:
    """Give the job that a row is about."""
    return key.partition("/")[2]


def name_of(key: str) -> tuple[str, str]:
    """Give what a row of rates is told by, and which one it is about."""
    _, dimension, name = key.split("/", 2)
    return dimension, name


class Folder:
    """Folds events into two tables.

    Parameters
    ----------
    jobs, rates
        Rows by their keys. What changes is put back, once for all events of a call.
    clock
        Unix seconds.
    """

    def __init__(
        self,
        jobs: MutableMapping[str, JobView],
        rates: MutableMapping[str, Series],
        clock: Callable[[], float],
    ) -> None:
        self.jobs = jobs
        self.rates = rates
        self._clock = clock

    def fold(self, events: Iterable[Placed], refused: Callable[[Exception], None]) -> None:
        """Fold events; one that cannot be folded is told to `refused` and left out."""
        now = self._clock()
        jobs: dict[str, JobView] = {}
        rates: dict[str, Series] = {}
        for partition, event in events:
            try:
                self._one(partition, event, now, jobs, rates)
            except Exception as error:  # a watcher goes on, whatever it is told
                refused(error)
        for key, view in jobs.items():
            self.jobs[key] = view
        for key, series in rates.items():
            series.trim(now)
            self.rates[key] = series

    def expire(self) -> None:
        """Forget what is too old to be asked for."""
        now = self._clock()
        for key in [key for key, view in self.jobs.items() if _over(view, now)]:
            del self.jobs[key]
        for key, series in list(self.rates.items()):
            series.trim(now)
            if not series.windows:
                del self.rates[key]

    def _one(
        self, partition: int, event: Event, now: float, jobs: dict[str, JobView], rates: dict[str, Series]
    ) -> None:
        if not is_job_id(event.job):
            raise ValueError
        key = job_key(partition, event.job)
        view = jobs.get(key) or self.jobs.get(key) or JobView()
        jobs[key] = view
        # Clocks differ a little: nothing has happened later than now.
        at = min(event.at, now)
        hear(view, event, at)
        said = told(event)
        view.due = max(view.due, said.due)
        for item, more in _countable(view, _counted(view, said)):
            for series_key in _whose(partition, view, item):
                series = rates.get(series_key) or self.rates.get(series_key) or Series()
                if series.add(at, more, now):
                    rates[series_key] = series
        sample(view, at)


def _counted(view: JobView, said: Told) -> Iterator[tuple[int, Window]]:
    """Mark the items that have ended, and give what is new to count of each: an item's end is, once."""
    for place, item in enumerate(said.items):
        ended = said.ended and end(view, item)
        size = said.size[place] if ended and said.size else 0
        view.size += size
        view.failed += int(ended and said.failed)
        more = Window(
            items=int(ended and said.work),
            failed=int(ended and said.failed),
            size=size,
            faults=int(said.fault and (ended or not said.ended)),
        )
        if more != Window():
            yield item, more


def _countable(view: JobView, counted: Iterable[tuple[int, Window]]) -> Iterable[tuple[int, Window]]:
    """Give what can be counted now: before a job's plan nothing, as nobody knows whose its items are."""
    if view.kind is None:
        for item, more in counted:
            view.early.setdefault(item, Window()).add(more)
        return ()
    if not view.early:
        return counted
    early, view.early = view.early, {}
    return (*early.items(), *counted)


def _whose(partition: int, view: JobView, item: int) -> Iterator[str]:
    """Give the rows that an item counts for."""
    if source := view.source_of(item):
        yield rate_key(partition, Dimension.SOURCE, source)
    if view.client:
        yield rate_key(partition, Dimension.CLIENT, view.client)


def _over(view: JobView, now: float) -> bool:
    if view.finished_at is not None:
        return now - view.finished_at > FINISHED_KEPT
    return now - view.heard_at > (UNPLANNED_KEPT if view.kind is None else SILENT_KEPT)
