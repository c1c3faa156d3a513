"""Dead letters: what could not be handled is kept with its coordinates, and not without bound.

A letter is a copy of the record, with headers that tell where it was, why and how often it failed, and the
sha256 of its value, by which it can be talked about without being quoted.
"""

from __future__ import annotations

import hashlib
from collections import deque

from sluice_streaming.messages import Headers, Outgoing, Record
from sluice_streaming.retries import History, foreign

DIGEST = "sluice-sha256"
DIED = "sluice-died"


def dead_letter(
    record: Record, history: History, topic: str, code: str, now: float, *, status: int | None = None
) -> Outgoing:
    """Give the dead letter of `record` for `topic`; `now` is Unix seconds, `status` the failure's."""
    value = record.value
    headers: Headers = (
        *foreign(record.headers),
        *history.headers(code, status),
        (DIGEST, hashlib.sha256(value or b"").hexdigest().encode()),
        (DIED, f"{now:.3f}".encode()),
    )
    return Outgoing(topic, record.key, value, headers)


class LetterCap:
    """Limits dead letters to `limit` in any `window` seconds.

    A fault of ours (a bad release, a producer gone wrong) would otherwise move whole topics into the
    dead-letter topics within seconds. Messages that failed through their retries do not count: the tiers
    already slow them down, and one broken source must not stop the work for all others.
    """

    def __init__(self, limit: int = 100, window: float = 60.0) -> None:
        self._limit = limit
        self._window = window
        self._recent: deque[float] = deque()

    def wait(self, now: float) -> float:
        """Give the seconds until another letter may be written; 0 if it may now."""
        recent = self._recent
        while recent and recent[0] <= now - self._window:
            recent.popleft()
        return 0.0 if len(recent) < self._limit else recent[0] + self._window - now

    def count(self, now: float) -> None:
        """Note a letter written at `now`."""
        self._recent.append(now)
