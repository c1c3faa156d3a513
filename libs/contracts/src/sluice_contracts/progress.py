"""How far an item has come: one ladder, climbed only upwards.

Events arrive more than once and, after a replay, in any order. An item is therefore always at the highest
rank that any of its events gives it: fold them however you like, the result is the same.
"""

from __future__ import annotations

from enum import IntEnum


class ItemRank(IntEnum):
    """What is known of an item; a higher rank replaces a lower one, never the other way.

    An item of which nothing is known has no rank. Ranks are spaced so that a stage can be added between.
    """

    RETRYING = 10
    FETCHED = 20
    SCRAPED = 30
    CANCELLED = 40
    FAILED = 50
    SKIPPED = 60
    ATTACHED = 70

    @property
    def final(self) -> bool:
        """Whether the item has ended."""
        return self >= ItemRank.CANCELLED
