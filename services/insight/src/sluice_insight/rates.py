"""Windows: what ended within each ten seconds, by source and by client, kept for a quarter of an hour."""

from __future__ import annotations

from msgspec import Struct, field

WINDOW = 10.0
"""Seconds of a window."""
KEPT = 900.0
"""Seconds for which windows are kept."""


class Window(Struct, kw_only=True, array_like=True):
    """What happened within one window.

    Parameters
    ----------
    items, failed
        Items that ended, and those of them that ended without success.
    size
        Bytes of those that succeeded.
    faults
        Attempts that failed for the source's reasons, whether they are repeated or not.
    """

    items: int = 0
    failed: int = 0
    size: int = 0
    faults: int = 0

    def add(self, other: Window) -> None:
        """Add what another one holds."""
        self.items += other.items
        self.failed += other.failed
        self.size += other.size
        self.faults += other.faults


class Series(Struct, kw_only=True):
    """The windows of one source or client, by their number; it is also its row in the changelog."""

    windows: dict[int, Window] = field(default_factory=dict)

    def add(self, at: float, more: Window, now: float) -> bool:
        """Add to the window that `at` is in; give whether that is still kept."""
        if now - at >= KEPT:
            return False
        number = int(at // WINDOW)
        self.windows.setdefault(number, Window()).add(more)
        return True

    def trim(self, now: float) -> None:
        """Forget windows that are too old to be kept."""
        oldest = int((now - KEPT) // WINDOW)
        for number in [number for number in self.windows if number <= oldest]:
            del self.windows[number]

    def total(self, now: float, seconds: float) -> Window:
        """Give what the windows of the last `seconds` hold; the one under way counts too."""
        total = Window()
        first = int((now - seconds) // WINDOW) + 1
        for number, window in self.windows.items():
            if number >= first:
                total.add(window)
        return total


class Rates(Struct, frozen=True, kw_only=True):
    """A window's numbers, a second: what is shown."""

    items_per_second: float
    bytes_per_second: float
    error_ratio: float
    items: int
    failed: int
    faults: int


def rates(total: Window, seconds: float) -> Rates:
    """Give what happened within `seconds` as rates; `error_ratio` is 0 to 1, of the items that ended."""
    return Rates(
        items_per_second=round(total.items / seconds, 3),
        bytes_per_second=round(total.size / seconds, 1),
        error_ratio=round(total.failed / total.items, 4) if total.items else 0.0,
        items=total.items,
        failed=total.failed,
        faults=total.faults,
    )
