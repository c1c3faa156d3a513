"""Whether what the gateway needs answers: asked when somebody wants to know, at most once a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

Check = Callable[[], Awaitable[bool]]
"""Gives whether it answers; any exception means no."""


class Health:
    """Asks everything at once, and remembers the answers for a moment.

    Parameters
    ----------
    checks
        What to ask, by name.
    patience
        Seconds to wait for an answer.
    fresh
        Seconds for which answers are told again.
    monotonic
        A clock for ages.
    """

    def __init__(
        self,
        checks: Mapping[str, Check],
        *,
        patience: float = 2.0,
        fresh: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checks = checks
        self._patience = patience
        self._fresh = fresh
        self._monotonic = monotonic
        self._answers: dict[str, str] = {}
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def __call__(self) -> dict[str, str]:
        """Give `ok` or `away` for each thing, by its name."""
        async with self._asking:
            if self._monotonic() - self._asked_at > self._fresh:
                answers = await asyncio.gather(*(self._ask(check) for check in self._checks.values()))
                self._answers = dict(zip(self._checks, answers, strict=True))
                self._asked_at = self._monotonic()
            return dict(self._answers)

    async def _ask(self, check: Check) -> str:
        try:
            async with asyncio.timeout(self._patience):
                return "ok" if await check() else "away"
        except Exception:  # whatever is wrong with it, it does not answer
            return "away"
