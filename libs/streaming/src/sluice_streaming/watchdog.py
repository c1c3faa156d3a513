"""The watchdog: a consumer that silently stopped reading must end its process, so that another takes over.

Known of aiokafka (aio-libs/aiokafka issue 1037): consumers that stop receiving without any error. From
outside they look healthy; the signs are records on the log, nothing in flight, and nothing new coming in.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Stuck(RuntimeError):  # noqa: N818 - a state, like the other outcomes
    """There are records to handle, and none was handled for too long."""


class Watchdog:
    """Raises when there is work and no progress for `limit` seconds (0: never).

    Parameters
    ----------
    limit
        Seconds.
    monotonic
        A clock that only rises, in seconds.
    """

    def __init__(self, limit: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._since = monotonic()

    def progress(self) -> None:
        """Note that something moved, or that nothing could be expected to."""
        self._since = self._monotonic()

    def check(self, lag: int, *, busy: int) -> None:
        """Judge the moment: `lag` records wait on the log, `busy` deliveries are in flight.

        Raises
        ------
        Stuck
            No progress for longer than the limit, with lag and nothing in flight.
        """
        if lag == 0 or busy > 0:
            self.progress()
        elif self._limit and (idle := self._monotonic() - self._since) > self._limit:
            raise Stuck(f"{lag} records wait and nothing moved for {idle:.0f} s")
