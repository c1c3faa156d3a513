"""A limit on attempts: so many in a window, per key, in this process.

The limit protects the server's time, not its secrets (those cannot be guessed), so it need not be shared by
processes nor survive a restart.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable


class Throttle:
    """Counts attempts per key.

    Parameters
    ----------
    most
        How many attempts a key may make ...
    window
        ... in any so many seconds.
    keys
        How many keys to remember; the one that was quiet longest is forgotten first.
    now
        A clock in seconds.
    """

    def __init__(self, most: int, window: float, *, now: Callable[[], float], keys: int = 10_000) -> None:
        self._most = most
        self._window = window
        self._now = now
        self._keys = keys
        self._attempts: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def wait(self, key: Hashable) -> float:
        """Give the seconds until `key` may try again; 0 if it may now."""
        attempts = self._attempts.get(key)
        if attempts is None or len(attempts) < self._most:
            return 0.0
        return max(0.0, attempts[0] + self._window - self._now())

    def count(self, key: Hashable) -> None:
        """Note an attempt of `key`."""
        attempts = self._attempts.get(key)
        if attempts is None:
            # The deque keeps the newest `most` attempts: the oldest of them decides.
            attempts = self._attempts[key] = deque(maxlen=self._most)
        attempts.append(self._now())
        self._attempts.move_to_end(key)
        while len(self._attempts) > self._keys:
            self._attempts.popitem(last=False)
