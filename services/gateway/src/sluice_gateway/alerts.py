"""What insight alerts of, for whoever looks at the job or the source that it is about.

Insight only watches: an answer is given without it when it is away, slow, or has nothing to tell.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import aiohttp
import msgspec

from sluice_gateway.insight import answer_of

_MOST_BYTES = 1024 * 1024
_STUCK, _FAILING = "JobStuck", "SourceFailing"


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that holds, as insight tells it: which fields it has depends on its type.

    Times are Unix seconds; `since` is when a stuck job was last heard of.
    """

    type: str
    at: float
    job: str = ""
    since: float = 0.0
    source: str = ""
    seconds: float = 0.0
    faults: int = 0
    items: int = 0


Ask = Callable[[], Awaitable[Sequence[Held]]]
"""Gives every alert that holds; may raise anything."""

_answer: msgspec.json.Decoder[list[Held]] = msgspec.json.Decoder(list[Held])


def asking_for_alerts(session: aiohttp.ClientSession, base: str) -> Ask:
    """Ask insight at `base` over HTTP."""

    async def ask() -> Sequence[Held]:
        return _answer.decode(await answer_of(session, f"{base}/alerts", _MOST_BYTES))

    return ask


class Alerts:
    """Asks, and tells what was answered for a moment.

    Parameters
    ----------
    ask
        How; None: nobody is there to ask.
    patience
        Seconds to wait for an answer; nothing holds, as far as is known, if none comes.
    fresh
        Seconds until the next question. Whoever comes while one is asked is told what was heard before.
    monotonic
        A clock for ages.
    """

    def __init__(
        self,
        ask: Ask | None = None,
        *,
        patience: float = 0.25,
        fresh: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._patience = patience
        self._fresh = fresh
        self._monotonic = monotonic
        self._next = float("-inf")
        self._held: Sequence[Held] = ()

    async def stuck(self) -> dict[str, datetime]:
        """Give since when nothing was heard of each job that is stuck; raises nothing."""
        held = await self._current()
        return {it.job: datetime.fromtimestamp(it.since, UTC) for it in held if it.type == _STUCK}

    async def failing(self, source: str) -> Held | None:
        """Give the alert that says that a source answers badly, if there is one; raises nothing."""
        held = await self._current()
        return next((it for it in held if it.type == _FAILING and it.source == source), None)

    async def _current(self) -> Sequence[Held]:
        now = self._monotonic()
        if self._ask is None or now < self._next:
            return self._held
        self._next = now + self._fresh
        try:
            async with asyncio.timeout(self._patience):
                self._held = await self._ask()
        except Exception:  # whatever is wrong with it, jobs and sources are told of without it
            self._held = ()
        return self._held
