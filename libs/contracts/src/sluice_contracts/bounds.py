"""Numbers and texts with bounds, so that a decoded event or alert fits wherever it is stored.

Bounds are checked when a message is decoded, not when it is made.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

MOST_ITEMS = 1_000_000
"""The most items a job has."""

Seconds = Annotated[float, Meta(ge=0, le=253_402_300_799)]
"""Unix seconds, no later than the year 9999."""
Position = Annotated[int, Meta(ge=0, lt=MOST_ITEMS)]
"""An item's position in its request, from 0."""
Count = Annotated[int, Meta(ge=0, le=MOST_ITEMS)]
"""How many items."""
Bytes = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A length in bytes, or another number without a bound of its own."""
Number = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""A small number: an attempt, a status, how many keys."""
Word = Annotated[str, Meta(max_length=100)]
"""A code or an id."""
Name = Annotated[str, Meta(max_length=1000)]
"""Who someone is: a client or a subject."""
