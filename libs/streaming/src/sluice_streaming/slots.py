"""The slots that one delivery holds: one for each of its items that is not passed on yet."""

from __future__ import annotations

from collections.abc import Callable


class Slots:
    """Some of a dispatcher's slots.

    Parameters
    ----------
    return_
        Takes so many slots back, or gives them (negative).
    weight
        How many the delivery takes.
    """

    __slots__ = ("_held", "_return", "weight")

    def __init__(self, return_: Callable[[int], None], weight: int) -> None:
        self.weight = weight
        self._return = return_
        self._held = 0
        self.take()

    def take(self) -> None:
        """Hold all of them (again)."""
        held, self._held = self._held, self.weight
        self._return(held - self.weight)

    def give(self, count: int) -> None:
        """Give up to `count` of them back."""
        given = min(count, self._held)
        self._held -= given
        self._return(given)
