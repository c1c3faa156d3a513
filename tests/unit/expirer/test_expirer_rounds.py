"""Rounds go on whatever happens in one, and never delete anything themselves but what is left over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from sluice_contracts.commands import ExpireJob
from sluice_contracts.exports import ExpiryReason
from sluice_expirer.expiring import Expiring
from sluice_expirer.store import Due, Gone
from sluice_expirer.timing import DueJobs
from sluice_storage.exports.objects import ObjectStoreError
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.outcomes import Unavailable
from sluice_streaming.rounds import repeat

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB = "0191d2a0-0000-8000-8000-000000000000"


class MemoryJobs:
    """Jobs that are due, in memory."""

    def __init__(self, due: Sequence[str] = (), unswept: Sequence[str] = ()) -> None:
        self.waiting = sorted(due)
        self.left = list(unswept)
        self.errors: list[Exception] = []
        self.purged: list[str] = []
        self.asked = 0
        self.backing_up = False

    async def withdraw(self, job: str, reason: ExpiryReason, at: datetime) -> None:
        return None

    async def gone(self, job: str) -> Gone | None:
        return None

    async def held(self, job: str, now: datetime, longest: timedelta) -> bool:
        return False

    async def may_remove(self) -> bool:
        return not self.backing_up

    async def purge(self, job: str, at: datetime) -> Gone:
        self.purged.append(job)
        return Gone(at, ExpiryReason.DELETED)

    async def due(self, now: datetime, after: str | None, limit: int) -> Sequence[Due]:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        found = [job for job in self.waiting if after is None or job > after][:limit]
        return [Due(job, ExpiryReason.EXPIRED) for job in found]

    async def unswept(self, before: datetime, limit: int) -> Sequence[str]:
        return self.left[:limit]

    async def swept(self, jobs: Sequence[str], at: datetime) -> None:
        self.left = [job for job in self.left if job not in jobs]


class Objects:
    """An object store that may be away."""

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.away = False

    async def remove_job(self, job: str) -> int:
        if self.away:
            raise ObjectStoreError("away")
        self.removed.append(job)
        return 1


class Publisher:
    """Takes note of what is asked for."""

    def __init__(self) -> None:
        self.jobs: list[str] = []

    async def publish(self, messages: Sequence[Message]) -> None:
        self.jobs += [message.key for message in messages]


def rounds(jobs: MemoryJobs, objects: Objects, publisher: Publisher) -> DueJobs:
    return DueJobs(jobs, objects, publisher, settle=timedelta(hours=2), now=lambda: NOW)


async def test_a_round_asks_for_each_due_job_once_and_deletes_none_itself() -> None:
    jobs = MemoryJobs([f"{number:04}" for number in range(1000)])
    objects, publisher = Objects(), Publisher()
    await rounds(jobs, objects, publisher).round()
    assert publisher.jobs == jobs.waiting
    assert (objects.removed, jobs.purged) == ([], [])


async def test_rounds_go_on_after_any_error() -> None:
    jobs, publisher = MemoryJobs(["a"]), Publisher()
    jobs.errors = [Unavailable("postgres"), RuntimeError("a bug")]
    stop = asyncio.Event()
    task = asyncio.create_task(repeat(stop, 0.001, rounds(jobs, Objects(), publisher).round, "looking"))
    async with asyncio.timeout(120):
        while not publisher.jobs:  # noqa: ASYNC110 - it happens in the other task
            await asyncio.sleep(0.001)
    stop.set()
    await task
    assert publisher.jobs[0] == "a"


async def test_a_sweep_that_fails_is_made_again() -> None:
    jobs, objects = MemoryJobs(unswept=["a", "b"]), Objects()
    objects.away = True
    each = rounds(jobs, objects, Publisher())
    with pytest.raises(Unavailable):
        await each.round()
    assert jobs.left == ["a", "b"]
    objects.away = False
    await each.round()
    assert (jobs.left, objects.removed) == ([], ["a", "b"])


async def test_rows_stay_until_the_objects_are_gone() -> None:
    jobs, objects = MemoryJobs(), Objects()
    objects.away = True
    expiring = Expiring(jobs, objects, timedelta(), lambda: NOW)
    command = Delivery(ExpireJob(job=JOB, reason=ExpiryReason.DELETED), None)
    with pytest.raises(Unavailable):
        await expiring.handle(command)
    assert jobs.purged == []
    objects.away = False
    await expiring.handle(command)
    assert jobs.purged == [JOB]


async def test_objects_stay_while_a_backup_is_made() -> None:
    jobs, objects = MemoryJobs(), Objects()
    jobs.backing_up = True
    expiring = Expiring(jobs, objects, timedelta(), lambda: NOW)
    command = Delivery(ExpireJob(job=JOB, reason=ExpiryReason.DELETED), None)
    assert await expiring.handle(command) == ()
    assert (jobs.purged, objects.removed) == ([], [])
    jobs.backing_up = False
    await expiring.handle(command)
    assert (jobs.purged, objects.removed) == ([JOB], [JOB])
