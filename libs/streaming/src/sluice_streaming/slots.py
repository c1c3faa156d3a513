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
    def spared(self, count: int = 1) -> Iterator[None]:
        """Give up to `count` of them to others inside of the block."""
        count = min(count, self._held)
        if not count:
            yield
            return
        self.give(count)
        round_ = self._round
        try:
            yield
        finally:
            # What waits may be shared with other deliveries, and outlive this one. Otherwise the slot is
            # taken back although it may be another's by now: whoever waited goes on at once.
            if self._round == round_:
                self._held += count
                self._return(-count)


_held: ContextVar[Slots | None] = ContextVar("sluice_slots", default=None)
_mine: ContextVar[int] = ContextVar("sluice_slots_mine", default=1)


def hold(slots: Slots) -> None:
    """Make these the running task's slots, and those of what it starts, each of which has one of them."""
    _held.set(slots)


def have(count: int) -> None:
    """Have so many of the slots in the running task, which works on so many items."""
    _mine.set(count)


@contextmanager
def idle() -> Iterator[None]:
    """Let others have the running task's slots while it waits for something that takes no work of ours."""
    slots = _held.get()
    if slots is None:
        yield
    else:
        with slots.spared(_mine.get()):
            yield
