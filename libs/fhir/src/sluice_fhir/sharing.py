"""Bringing a process's throttles together with those of all others: once a second, all sources at a time."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Protocol

import asyncpg
import structlog

from sluice_fhir.condition_store import ConditionStore, Report
from sluice_fhir.conditions import Grant
from sluice_fhir.sources import Source
from sluice_fhir.throttle import Throttle
from sluice_telemetry.logs import describe

log = structlog.get_logger(__name__)

_EVERY = 1.0
_SOON = 0.05
_AGAIN = 0.2
NOTHING = Grant(0, None, 0.0)


class Conditions(Protocol):
    """Where processes meet; `sluice_fhir.condition_store.ConditionStore` is the one on Postgres."""

    async def exchange(self, worker: str, reports: Mapping[str, Report]) -> dict[str, Grant]:
        """Let all learn what this process saw of some sources, and give what it may do at each."""


class Sharing:
    """Shares sources' limits with all other processes.

    Parameters
    ----------
    conditions
        Where processes meet.
    worker
        This process's name, no other's.
    idle
        Entered while a call waits for its turn; see `Throttle`.
    """

    def __init__(
        self,
        conditions: Conditions,
        worker: str,
        *,
        idle: Callable[[], AbstractContextManager[object]] = nullcontext,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._conditions = conditions
        self._worker = worker
        self._idle = idle
        self._monotonic = monotonic
        self._hungry = asyncio.Event()
        self._throttles: dict[str, Throttle] = {}
        self._told: set[str] = set()

    def throttle(self, source: Source) -> Throttle:
        """Make the throttle of a source; nothing is sent there until this process was granted something."""
        made = Throttle(
            source.max_concurrency,
            source.max_requests_per_second,
            idle=self._idle,
            hungry=self._hungry.set,
            clock=self._monotonic,
        )
        self._throttles[source.id] = made
        return made

    async def run(self) -> None:
        """Exchange again and again: each second, and soon when a call has to wait for a first grant.

        After that first one it exchanges again before long: what it really wants shows only now, and what it
        got too much of, others may be waiting for.
        """
        pause = _EVERY
        while True:
            starved = any(throttle.starved for throttle in self._throttles.values())
            try:
                async with asyncio.timeout(_AGAIN if starved else pause):
                    await self._hungry.wait()
                await asyncio.sleep(_SOON)
                pause = _AGAIN
            except TimeoutError:  # nobody is in a hurry
                pause = min(2 * pause, _EVERY)
            self._hungry.clear()
            try:
                await self.turn()
            except Exception as error:
                log.warning("sources' limits are not shared for now", **describe(error))
                await asyncio.sleep(_EVERY)

    async def turn(self) -> None:
        """Tell what was seen of the sources that are used, and take what is granted."""
        reports: dict[str, Report] = {}
        for source, throttle in self._throttles.items():
            wanted = min(throttle.wanted(), throttle.bounds.concurrency)
            if wanted or throttle.saw or source in self._told:
                reports[source] = Report(throttle.bounds, throttle.seen(), wanted)
        if not reports:
            return
        try:
            grants = await self._conditions.exchange(self._worker, reports)
        except BaseException:
            for source, report in reports.items():
                self._throttles[source].unsee(report.seen)
            raise
        self._told = {source for source, report in reports.items() if report.wanted}
        for source, given in grants.items():
            # What is not told of any more goes to others.
            self._throttles[source].grant(given if source in self._told else NOTHING)


@asynccontextmanager
async def sharing(
    pool: asyncpg.Pool, service: str, idle: Callable[[], AbstractContextManager[object]]
) -> AsyncIterator[Sharing]:
    """Share the limits of the sources that this process calls, through Postgres, inside of the block.

    Parameters
    ----------
    pool
        A pool of a role that is a member of `sluice_owner_conditions`.
    service
        Who calls; the process is given a name of its own.
    """
    made = Sharing(ConditionStore(pool), f"{service} {secrets.token_hex(8)}", idle=idle)
    running = asyncio.create_task(made.run(), name="share sources' limits")
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
