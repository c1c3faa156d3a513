"""Has steps taken when they are due, round after round; what is due is in Postgres and survives restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from sluice_contracts.commands import PollExport
from sluice_contracts.topics import JOBS_BULK_IMPORT
from sluice_puller.store import Due, Jobs
from sluice_streaming.backend import Publisher
from sluice_streaming.messages import Message
from sluice_telemetry.trace import TRACEPARENT

_AT_ONCE = 200
# Event loops count in milliseconds and may be early by one: then nothing would be due yet.
_EARLY = 0.005


class DuePolls:
    """Asks, round after round, for the steps that are due; any number of processes may do so.

    Parameters
    ----------
    jobs
        Jobs' rows.
    publisher
        Where commands go.
    lease
        How long a step that was asked for is not asked for again.
    every
        Seconds between rounds.
    now
        Gives the time.

    Attributes
    ----------
    wake
        Set when the next round is to come before its time.
    """

    def __init__(
        self,
        jobs: Jobs,
        publisher: Publisher,
        *,
        lease: timedelta,
        every: float,
        now: Callable[[], datetime],
    ) -> None:
        self._jobs = jobs
        self._publisher = publisher
        self._lease = lease
        self._every = every
        self._now = now
        self.wake = asyncio.Event()

    def expect(self, due: datetime) -> None:
        """Have a round at this time, if the next one would come later.

        It is a hint of this process to itself: what is due is found without it, only later.
        """
        wait = max(0.0, (due - self._now()).total_seconds())
        if wait < self._every:
            asyncio.get_running_loop().call_later(wait + _EARLY, self.wake.set)

    async def round(self) -> None:
        """Ask for every step that is due.

        Raises
        ------
        Unavailable
            Kafka or the database is away; call again.
        """
        while due := await self._jobs.due(self._now(), self._lease, _AT_ONCE):
            await self._publisher.publish([_poll(each) for each in due])
            if len(due) < _AT_ONCE:
                return


def _poll(due: Due) -> Message:
    # A round belongs to no request, but each of its steps does.
    headers = () if due.trace is None else ((TRACEPARENT, due.trace.encode()),)
    return Message(JOBS_BULK_IMPORT, due.job, PollExport(job=due.job, turn=due.turn), headers)
