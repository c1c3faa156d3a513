"""Finds the jobs whose time has come, round after round, and what was left behind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from sluice_contracts.commands import ExpireJob
from sluice_contracts.topics import JOBS_EXPIRE
from sluice_expirer.expiring import Objects
from sluice_expirer.store import Jobs
from sluice_storage.exports.objects import ObjectStoreError
from sluice_streaming.backend import Publisher
from sluice_streaming.messages import Message
from sluice_streaming.outcomes import Unavailable

log = structlog.get_logger(__name__)

_AT_ONCE = 200


class DueJobs:
    """Asks, round after round, for what has to go; any number of processes may do so.

    Parameters
    ----------
    jobs
        Jobs' rows.
    objects
        Jobs' files.
    publisher
        Where commands go.
    settle
        How long after a job went its files are looked for once more: longer than a part may take to be
        written, so that a writer that was late is found out.
    now
        Gives the time.
    """

    def __init__(
        self,
        jobs: Jobs,
        objects: Objects,
        publisher: Publisher,
        *,
        settle: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._jobs = jobs
        self._objects = objects
        self._publisher = publisher
        self._settle = settle
        self._now = now

    async def round(self) -> None:
        """Ask for everything that is due, and sweep after what went.

        Raises
        ------
        Unavailable
            Kafka, the database or the object store is away; call again.
        """
        after: str | None = None
        while due := await self._jobs.due(self._now(), after, _AT_ONCE):
            await self._publisher.publish(
                [Message(JOBS_EXPIRE, each.job, ExpireJob(job=each.job, reason=each.reason)) for each in due]
            )
            after = due[-1].job
        while jobs := await self._jobs.unswept(self._now() - self._settle, _AT_ONCE):
            for job in jobs:
                await self._sweep(job)
            await self._jobs.swept(jobs, self._now())

    async def _sweep(self, job: str) -> None:
        try:
            found = await self._objects.remove_job(job)
        except ObjectStoreError:
            raise Unavailable("objects") from None
        if found:
            log.info("removed what a late writer left", job=job, files=found)
