"""What an event says about items: which, how they ended, and how large they were.

This is the one place that knows how events are about items: one event may be about several.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from sluice_contracts.errors import ItemError
from sluice_contracts.events import (
    DocumentAttached,
    DocumentsAttached,
    Event,
    FileLoaded,
    ImportSettled,
    ItemCancelled,
    ItemFailed,
    ItemRetrying,
    PartSealed,
)

SOURCE_FAULTS = frozenset(
    {
        ItemError.SOURCE_THROTTLED,
        ItemError.SOURCE_UNAVAILABLE,
        ItemError.SOURCE_TIMEOUT,
        ItemError.SOURCE_AUTHORIZATION,
        ItemError.ATTACHMENT_TRUNCATED,
        ItemError.EXPORT_FAILED,
        ItemError.EXPORT_TIMEOUT,
        ItemError.FILE_TRUNCATED,
    }
)
"""Codes that tell of a source's state, not of what it was asked for."""


class Told(Struct, frozen=True, kw_only=True):
    """What an event says about some items.

    Parameters
    ----------
    items
        Their positions.
    ended, failed
        Whether they have ended, and whether without success.
    work
        Whether each is a piece of work, to be counted in rates.
    size
        The bytes of each, in the order of `items`; empty if there are none.
    fault
        Whether an attempt failed for the source's reasons.
    due
        When they are tried again, 0 if they are not.
    """

    items: Sequence[int] = ()
    ended: bool = False
    failed: bool = False
    work: bool = True
    size: Sequence[int] = ()
    fault: bool = False
    due: float = 0.0


_NOTHING = Told()


def told(event: Event) -> Told:
    """Give what the event says about items; nothing of items if it is about their job, or just progress."""
    match event:
        case DocumentAttached() | PartSealed() | FileLoaded():
            return Told(items=(event.item,), ended=True, size=(event.size,))
        case DocumentsAttached():
            items = tuple([it.item for it in event.items])
            return Told(items=items, ended=True, size=tuple([it.size for it in event.items]))
        case ItemFailed():
            return Told(items=(event.item,), ended=True, failed=True, fault=event.code in SOURCE_FAULTS)
        case ItemRetrying():
            return Told(items=(event.item,), fault=event.code in SOURCE_FAULTS, due=event.due)
        case ImportSettled() | ItemCancelled():
            return Told(items=(event.item,), ended=True, work=False)
        case _:
            return _NOTHING
