"""How long calls are put off that there is no turn for: by the retry tiers' delays, and back in time.

A source that takes one call a second would have a thousand wait. Each wait has a few steps; a step holds as
many as can have their turn before those of the next step are back. So a source is never without a call that
waits for it, and one that is put off is so a few times, not a thousand.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

STEPS = (1.0, 10.0, 60.0, 600.0)
_SPARE = 1.2


class PuttingOff:
    """What of one source is put off now.

    Parameters
    ----------
    steps
        Seconds, rising: how long a call can be put off.
    """

    def __init__(self, steps: Sequence[float] = STEPS) -> None:
        self._steps = steps
        # When those in each step but the last are back, in order.
        self._back: list[deque[float]] = [deque() for _ in steps[:-1]]

    def next(self, now: float, pace: float) -> float:
        """Give for how long to put off a call at `now`, where the source takes `pace` of them a second."""
        for index, back in enumerate(self._back):
            while back and back[0] <= now:
                back.popleft()
            if len(back) < math.ceil(min(pace, 1e6) * self._steps[index + 1] * _SPARE):
                back.append(now + self._steps[index])
                return self._steps[index]
        return self._steps[-1]
