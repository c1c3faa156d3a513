"""How many bulk requests a client may make, counted for all gateway processes together.

The count is a sliding window in slots: a call counts until the whole slot it fell into has left the window,
so no window ever sees more calls than the limit, at the price of freeing calls up to one slot late.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from sluice_gateway.problems import Problem


@dataclass(frozen=True, slots=True)
class Policy:
    """A quota: `most` calls in `window` seconds, counted in `slots` slots, under `name`."""

    name: str = "bulk"
    most: int = 1000
    window: int = 300
    slots: int = 60

    @property
    def width(self) -> float:
        """Seconds that one slot covers."""
        return self.window / self.slots


@dataclass(frozen=True, slots=True)
class Usage:
    """What a client has used at `at`; `frees` is when the oldest counted call leaves (both Unix seconds)."""

    used: int
    frees: float
    at: float


class QuotaStore(Protocol):
    """Where the counts are."""

    async def take(self, policy: Policy, client: str, at: float) -> tuple[bool, Usage]:
        """Count one call unless the window is full; say whether it was counted, and the figures then."""

    async def read(self, policy: Policy, client: str, at: float) -> Usage:
        """Give the figures without counting."""


class Quotas:
    """Takes calls off clients' quotas and tells what is left.

    Parameters
    ----------
    store
        Where all processes count.
    policy
        The quota.
    now
        The wall clock, Unix seconds.
    fresh
        For how many seconds a figure that was read is told again without reading.
    size
        How many clients' figures to remember.
    """

    def __init__(
        self,
        store: QuotaStore,
        policy: Policy,
        *,
        now: Callable[[], float],
        fresh: float = 1.0,
        size: int = 10_000,
    ) -> None:
        self.policy = policy
        self._store = store
        self._now = now
        self._fresh = fresh
        self._size = size
        # A client that polls is told the same for a second.
        self._written = lru_cache(maxsize=1024)(self._write)
        self._known: OrderedDict[str, Usage] = OrderedDict()

    async def take(self, client: str) -> Usage:
        """Count one call.

        Raises
        ------
        Problem
            429: the window is full.
        """
        now = self._now()
        known = self._known.get(client)
        if known is not None and known.used >= self.policy.most and now < known.frees:
            # Calls only leave the window at `frees`: until then there is nothing to ask the store.
            raise self._exceeded(known)
        allowed, usage = await self._store.take(self.policy, client, now)
        self._remember(client, usage)
        if not allowed:
            raise self._exceeded(usage)
        return usage

    async def read(self, client: str) -> Usage:
        """Give the client's figures, which may be some moments old, without counting a call."""
        now = self._now()
        known = self._known.get(client)
        if known is None or now - known.at > self._fresh:
            known = await self._store.read(self.policy, client, now)
            self._remember(client, known)
        return known

    def unused(self) -> Usage:
        """Give the figures of whoever has made no call, which are those of nobody known."""
        now = self._now()
        return Usage(0, now, now)

    def fields(self, usage: Usage) -> Mapping[str, str]:
        """Give the header fields that tell the figures.

        The `X-RateLimit-*` ones are the Seven Bridges v2 API's (`Reset` in epoch seconds); the others are
        the IETF's (draft-ietf-httpapi-ratelimit-headers-10, `t` in seconds from now).
        """
        left = max(0, self.policy.most - usage.used)
        return self._written(left, self.reset(usage), self._wait(usage))

    def _write(self, left: int, reset: int, wait: int) -> Mapping[str, str]:
        policy = self.policy
        return {
            "X-RateLimit-Limit": str(policy.most),
            "X-RateLimit-Remaining": str(left),
            "X-RateLimit-Reset": str(reset),
            "RateLimit-Policy": f'"{policy.name}";q={policy.most};w={policy.window}',
            "RateLimit": f'"{policy.name}";r={left};t={wait}',
        }

    def reset(self, usage: Usage) -> int:
        """Give the epoch second from which more of the quota is free."""
        return math.ceil(max(usage.frees, usage.at))

    def _wait(self, usage: Usage) -> int:
        return max(0, self.reset(usage) - math.floor(self._now()))

    def _exceeded(self, usage: Usage) -> Problem:
        policy = self.policy
        return Problem(
            429,
            "rate_limit_exceeded",
            f"The limit of {policy.most} bulk requests in {policy.window // 60} minutes is used up.",
            "Wait until the time that X-RateLimit-Reset gives.",
            {"Retry-After": str(max(1, self._wait(usage)))},
        )

    def _remember(self, client: str, usage: Usage) -> None:
        self._known[client] = usage
        self._known.move_to_end(client)
        while len(self._known) > self._size:
            self._known.popitem(last=False)
