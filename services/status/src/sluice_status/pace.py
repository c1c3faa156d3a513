"""How often a running job's state is told: not at every event, and never late at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sluice_status.jobs import FINISHED, Job


class Pace:
    """Remembers when running jobs were last told of.

    Parameters
    ----------
    interval
        Seconds between two tellings of one running job. A change of its state does not wait.
    clock
        Gives seconds on any steady scale.
    """

    def __init__(self, interval: float, clock: Callable[[], float]) -> None:
        self._interval = interval
        self._clock = clock
        self._last: dict[str, float] = {}

    def due(self, job: Job) -> bool:
        """Whether a change of this job's counts should be told now."""
        if job.state == FINISHED:
            # An item that took effect after the job was cancelled: rare, and nothing comes after it.
            return True
        last = self._last.get(job.job)
        return last is None or self._clock() - last >= self._interval

    def told(self, jobs: Iterable[Job]) -> None:
        """Note that these jobs were told of; finished ones are forgotten."""
        now = self._clock()
        for job in jobs:
            if job.state == FINISHED:
                self._last.pop(job.job, None)
            else:
                self._last[job.job] = now
