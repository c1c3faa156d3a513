"""How often a client polls: it is told how long to wait, and those who do not are counted, then refused.

Counts are this process's own. A client whose polls meet several processes is refused later, not never; a
statement more for each poll would cost everybody.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from prometheus_client import Counter

from sluice_gateway.fhir.outcomes import refused

EARLY = Counter("sluice_gateway_early_polls", "Polls before the time that was asked for.")
# Clocks and networks are not exact: a client that waits as long as it was told is never early.
_TOLERANCE = 0.5


@dataclass(slots=True)
class _Pace:
    due: float
    early: int = 0


class Pacing:
    """Counts polls that come too early.

    Parameters
    ----------
    longest
        The most seconds that a client is asked to wait.
    patience
        How many early polls in a row are answered all the same.
    monotonic
        A clock that never goes back.
    size
        How many requests to remember.
    """

    def __init__(
        self, longest: int, patience: int, *, monotonic: Callable[[], float], size: int = 10_000
    ) -> None:
        self._longest = longest
        self._patience = patience
        self._monotonic = monotonic
        self._size = size
        self._known: OrderedDict[Hashable, _Pace] = OrderedDict()

    def check(self, poll: Hashable) -> None:
        """Count a poll that is too early.

        Raises
        ------
        Refusal
            429: there were too many of them.
        """
        known = self._known.get(poll)
        if known is None:
            return
        left = known.due - self._monotonic()
        if left <= _TOLERANCE:
            known.early = 0
            return
        EARLY.inc()
        known.early += 1
        if known.early > self._patience:
            text = "This is polled more often than was asked. Wait as long as Retry-After says."
            raise refused(429, "throttled", text, {"Retry-After": str(math.ceil(left))})

    def wait(self, poll: Hashable, age: float) -> int:
        """Give for how many seconds the next poll should wait, for a request that is `age` seconds old.

        A young one may be ended in a moment, an old one will not be.
        """
        seconds = max(1, min(self._longest, int(age / 10)))
        early = self._known[poll].early if poll in self._known else 0
        self._known[poll] = _Pace(self._monotonic() + seconds, early)
        self._known.move_to_end(poll)
        while len(self._known) > self._size:
            self._known.popitem(last=False)
        return seconds

    def forget(self, poll: Hashable) -> None:
        """Forget a request that has ended."""
        self._known.pop(poll, None)
