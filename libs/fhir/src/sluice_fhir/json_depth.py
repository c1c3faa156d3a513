"""How deep a JSON text nests, without decoding it."""

from __future__ import annotations

import re

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKETS = bytes.maketrans(b"[]", b"{}")
_REST = bytes(set(range(256)) - set(b"[]{}"))


def is_deeper(body: bytes, limit: int) -> bool:
    """Tell whether arrays and objects nest more than `limit` deep.

    Every step runs in C over the whole text, so that a hostile text cannot buy more of our time than its
    length pays for. A text that is not JSON may count as deep or not; decoding it fails either way.
    """
    if body.count(b"{") + body.count(b"[") <= limit:
        return False
    nest = _STRINGS.sub(b"", body).translate(_BRACKETS, _REST)
    # Each round takes the innermost pairs away, which is one level of all that is left.
    for _ in range(limit):
        if not nest:
            return False
        nest = nest.replace(b"{}", b"")
    return bool(nest)
