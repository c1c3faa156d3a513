"""Deletes what a job has written: first for everyone to see, then really."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from sluice_contracts.commands import ExpireJob
from sluice_contracts.errors import ItemError
from sluice_contracts.events import JobExpired
from sluice_contracts.ids import is_job_id
from sluice_expirer.store import Gone, Jobs
from sluice_storage.exports.objects import ObjectStoreError
from sluice_streaming.items import event
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.outcomes import Reject, Unavailable

log = structlog.get_logger(__name__)


class Objects(Protocol):
    """Files of exports; see `sluice_storage.exports.objects.ExportObjects`."""

    async def remove_job(self, job: str) -> int:
        """Remove every file of the job, also unfinished ones; give how many there were."""


class Expiring:
    """Handles `jobs.expire`.

    Parameters
    ----------
    jobs
        Jobs' rows.
    objects
        Jobs' files.
    longest
        How long after a job's deletion its files wait for downloads that began before.
    now
        Gives the time.
    """

    def __init__(self, jobs: Jobs, objects: Objects, longest: timedelta, now: Callable[[], datetime]) -> None:
        self._jobs = jobs
        self._objects = objects
        self._longest = longest
        self._now = now

    async def handle(self, delivery: Delivery[ExpireJob]) -> Sequence[Message]:
        """Delete the job's content, unless somebody still reads or copies it; then the clock comes again.

        From the first step on no poll and no download finds the job. Parts that are being written see it
        within seconds, list nothing and remove what they wrote.

        Raises
        ------
        Reject
            The job's id is not one.
        Unavailable
            The database or the object store is away.
        """
        command = delivery.command
        job = command.job
        if not is_job_id(job):
            raise Reject(ItemError.INTERNAL)
        await self._jobs.withdraw(job, command.reason, self._now())
        gone = await self._jobs.gone(job)
        if gone is None:
            if await self._jobs.held(job, self._now(), self._longest):
                log.info("files wait for a download", job=job)
                return ()
            if not await self._jobs.may_remove():
                log.info("files wait for a backup", job=job)
                return ()
            try:
                files = await self._objects.remove_job(job)
            except ObjectStoreError:
                raise Unavailable("objects") from None
            gone = await self._jobs.purge(job, self._now())
            log.info("deleted an export", job=job, reason=gone.reason.value, files=files)
        return (_told(job, gone),)


def _told(job: str, gone: Gone) -> Message:
    return event(JobExpired(job=job, at=gone.at.timestamp(), reason=gone.reason))
