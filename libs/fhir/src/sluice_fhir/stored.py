"""Reading resources as the store has them: JSON that could be named, whatever the shapes of its elements."""

from __future__ import annotations

from typing import Any

import msgspec

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def decoded(body: bytes) -> dict[str, Any] | None:
    """Give a resource; None if it has numbers or a depth that cannot be held here.

    The store skips what it does not need, and so takes such a resource; it is for whoever looks into it to go
    on without it.
    """
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None


def element(node: Any, name: str) -> list[Any]:
    """Give what an element has of a name, as a list; nothing of what is no element."""
    value = node.get(name) if type(node) is dict else None
    if type(value) is list:
        return value
    return [] if value is None else [value]
