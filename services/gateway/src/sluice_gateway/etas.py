"""When running jobs will end, as far as insight can tell: asked with little patience, and missed by nobody.

Insight only watches. A page is answered without it when it is away, slow, or does not know. A poll never
waits for it: it tells what was heard before, and the next one may tell more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime

import aiohttp
import msgspec

from sluice_gateway.insight import answer_of
from sluice_telemetry.trace import bind

Ask = Callable[[Collection[str]], Awaitable[Mapping[str, float]]]
"""Gives when jobs will end (Unix seconds), of those that it knows; may raise anything."""
Blocked = Callable[[Collection[str]], Awaitable[Collection[str]]]
"""Gives those of the jobs of which nobody can tell when they end; may raise anything."""

_MOST_KEPT = 10_000
_MOST_ASKED = 100  # insight answers about no more at once
_MOST_BYTES = 64 * 1024
_LATEST = 253_402_300_799.0
_SPELLED = ((86400, "d"), (3600, "h"), (60, "min"))
_answer: msgspec.json.Decoder[dict[str, float]] = msgspec.json.Decoder(dict[str, float])


def asking(session: aiohttp.ClientSession, base: str) -> Ask:
    """Ask insight at `base` over HTTP."""

    async def ask(jobs: Collection[str]) -> Mapping[str, float]:
        asked = [("job", job) for job in jobs]
        return _answer.decode(await answer_of(session, f"{base}/etas", _MOST_BYTES, asked))

    return ask


def unblocked(ask: Ask, blocked: Blocked) -> Ask:
    """Leave out jobs that their sources hold up: insight, which sees what ends, takes the pace of before."""

    async def asked(jobs: Collection[str]) -> Mapping[str, float]:
        found = await ask(jobs)
        without = await blocked(list(found)) if found else ()
        return {job: at for job, at in found.items() if job not in without}

    return asked


class Etas:
    """Asks, remembers the answers for a moment, and does not ask for a while after it was not answered.

    Parameters
    ----------
    ask
        How; None: nobody is there to ask.
    patience
        Seconds to wait for an answer.
    fresh
        Seconds for which an answer is told without asking again.
    stale
        Seconds for which it is told to polls, while it is asked for again.
    pace
        Seconds between questions for the sake of polls: each is about jobs polled meanwhile, the first to be
        polled first.
    rest
        Seconds after a failure until the next question.
    monotonic
        A clock for ages.
    """

    def __init__(
        self,
        ask: Ask | None = None,
        *,
        patience: float = 0.25,
        fresh: float = 2.0,
        stale: float = 150.0,
        pace: float = 0.25,
        rest: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._patience = patience
        self._fresh = fresh
        self._stale = stale
        self._pace = pace
        self._rest = rest
        self._monotonic = monotonic
        self._kept: dict[str, tuple[float, datetime | None]] = {}
        self._not_before = float("-inf")
        self._wanted: dict[str, None] = {}  # in order
        self._asking: asyncio.Task[None] | None = None

    async def of(self, jobs: Collection[str]) -> dict[str, datetime]:
        """Give when those of the jobs will end of which that can be told now; raises nothing."""
        now = self._monotonic()
        wanted = [job for job in jobs if not self._known(job, now)]
        if wanted and self._ask is not None and now >= self._not_before:
            await self._learn(self._ask, wanted, now)
        known = {job: self._kept[job][1] for job in jobs if self._known(job, now)}
        return {job: at for job, at in known.items() if at is not None}

    async def one(self, job: str) -> datetime | None:
        """Give when a job will end, if that can be told now; raises nothing."""
        return (await self.of([job])).get(job)

    def told(self, job: str) -> datetime | None:
        """Give when a job will end, if that was heard lately; what is not fresh is asked for meanwhile.

        For polls, of which there may be a thousand a second: an answer of insight's for each of them would
        cost as much as all the rest of it. Must be called on the event loop.
        """
        now = self._monotonic()
        if not self._known(job, now) and self._ask is not None and now >= self._not_before:
            self._wanted[job] = None
            if self._asking is None:
                self._asking = asyncio.create_task(self._learn_wanted(self._ask), name="ask when jobs end")
        at, eta = self._kept.get(job, (float("-inf"), None))
        return eta if now - at < self._stale else None

    async def _learn_wanted(self, ask: Ask) -> None:
        bind(None)  # whichever poll came first, the questions are for all that come now
        try:
            while self._wanted:
                jobs = list(self._wanted)[:_MOST_ASKED]
                for job in jobs:
                    del self._wanted[job]
                await self._learn(ask, jobs, self._monotonic())
                await asyncio.sleep(self._pace)
        finally:
            self._asking = None

    def _known(self, job: str, now: float) -> bool:
        kept = self._kept.get(job)
        return kept is not None and now - kept[0] < self._fresh

    async def _learn(self, ask: Ask, jobs: Collection[str], now: float) -> None:
        try:
            async with asyncio.timeout(self._patience):
                found = await ask(jobs)
        except Exception:  # whatever is wrong with it, jobs are told of without it
            self._not_before = now + self._rest
            self._wanted.clear()
            return
        if len(self._kept) > _MOST_KEPT:
            self._kept.clear()
        for job in jobs:
            at = found.get(job)
            sound = at is not None and 0 < at <= _LATEST
            self._kept[job] = (now, datetime.fromtimestamp(at or 0.0, UTC) if sound else None)


def left(eta: datetime | None, now: float) -> str:
    """Say how long that is from now, to follow a share: `, about 3 min left`; empty if nobody knows."""
    if eta is None:
        return ""
    seconds = max(1, round(eta.timestamp() - now))
    for size, unit in _SPELLED:
        if seconds >= 2 * size:
            return f", about {round(seconds / size)} {unit} left"
    return f", about {seconds} s left"
