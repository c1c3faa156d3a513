"""The slots that one delivery holds: one for each of its items that is not passed on yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Slots:
    """Some of a dispatcher's slots.

    Parameters
    ----------
    return_
        Takes so many slots back, or gives them (negative).
    weight
        How many the delivery takes.
    """

    __slots__ = ("_held", "_return", "_round", "weight")

    def __init__(self, return_: Callable[[int], None], weight: int) -> None:
        self.weight = weight
        self._return = return_
        self._held = 0
        self._round = 0
        self.take()

    def take(self) -> None:
        """Hold all of them (again)."""
        self._round += 1
        held, self._held = self._held, self.weight
        self._return(held - self.weight)

    def give(self, count: int) -> None:
        """Give up to `count` of them back."""
        given = min(count, self._held)
        self._held -= given
        self._return(given)

    def close(self) -> None:
        """Give all of them back, for good."""
        self._round += 1
        self.give(self.weight)

    @contextmanager
    def spared(self) -> Iterator[None]:
        """Give one of them to others inside of the block."""
        if not self._held:
            yield
            return
        self.give(1)
        round_ = self._round
        try:
            yield
        finally:
            # What waits may be shared with other deliveries, and outlive this one. Otherwise the slot is
            # taken back although it may be another's by now: whoever waited goes on at once.
            if self._round == round_:
                self._held += 1
                self._return(-1)


_held: ContextVar[Slots | None] = ContextVar("sluice_slots", default=None)


def hold(slots: Slots) -> None:
    """Make these the running task's slots, and those of what it starts."""
    _held.set(slots)


@contextmanager
def idle() -> Iterator[None]:
    """Let others have the running task's slot while it waits for something that takes no work of ours."""
    slots = _held.get()
    if slots is None:
        yield
    else:
        with slots.spared():
            yield
