"""What insight answers, as JSON: rates of sources and clients, running jobs, their ends, and alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from msgspec.structs import asdict

from sluice_contracts.topics import JOBS_EVENTS
from sluice_insight.folding import Dimension, Folder, job_key, job_of
from sluice_insight.jobs import JobView, eta, stuck
from sluice_insight.rates import rates
from sluice_insight.watching import Thresholds, Watch, totals

SPANS = (60.0, 300.0, 900.0)
"""The seconds over which rates are told."""
MOST_JOBS = 1000
"""The most jobs in an answer."""
MOST_ALERTS = 1000
"""The most alerts in an answer."""


class Views:
    """Answers from the tables.

    Parameters
    ----------
    folder
        Holds the tables.
    watch
        Holds the alerts.
    limits
        When a job counts as stuck.
    clock
        Unix seconds.
    """

    def __init__(self, folder: Folder, watch: Watch, limits: Thresholds, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._watch = watch
        self._limits = limits
        self._clock = clock

    def by(self, dimension: Dimension) -> dict[str, dict[str, Any]]:
        """Give the rates of each source or client that did anything lately, by name and span in seconds."""
        now = self._clock()
        found: dict[str, dict[str, Any]] = {}
        for seconds in SPANS:
            for name, total in totals(self._folder.rates, dimension, now, seconds).items():
                found.setdefault(name, {})[f"{seconds:.0f}"] = asdict(rates(total, seconds))
        return found

    def jobs(self) -> list[dict[str, Any]]:
        """Give the running jobs, those that were planned first at the top."""
        now = self._clock()
        running = [
            (view.planned_at, job_of(key), view) for key, view in self._folder.jobs.items() if view.running
        ]
        running.sort(key=lambda each: each[:2])
        return [self._job(job, view, now) for _, job, view in running[:MOST_JOBS]]

    def etas(self, jobs: Iterable[str]) -> dict[str, float]:
        """Give when those of the jobs will end (Unix seconds) of which that can be told."""
        now = self._clock()
        found: dict[str, float] = {}
        for job in jobs:
            for partition in range(JOBS_EVENTS.partitions):
                view = self._folder.jobs.get(job_key(partition, job))
                end = None if view is None else eta(view, now)
                if end is not None:
                    found[job] = round(end, 1)
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """Give the alerts that were told and hold, the first of them if they are many."""
        held = islice(self._watch.told.values(), MOST_ALERTS)
        return [{"type": type(alert).__name__, **asdict(alert)} for alert in held]

    def counts(self) -> tuple[int, int]:
        """Give how many jobs run, and how many of them are stuck."""
        now = self._clock()
        running = [view for view in self._folder.jobs.values() if view.running]
        return len(running), sum(stuck(view, now, self._limits.stuck_after) for view in running)

    def _job(self, job: str, view: JobView, now: float) -> dict[str, Any]:
        return {
            "job": job,
            "kind": view.kind,
            "client": view.client,
            "sources": list(view.sources),
            "items": view.items,
            "ended": view.done,
            "failed": view.failed,
            "bytes": view.size,
            "planned_at": view.planned_at,
            "heard_at": view.heard_at,
            "eta": eta(view, now),
            "stuck": stuck(view, now, self._limits.stuck_after),
        }
