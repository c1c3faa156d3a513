"""How deep a JSON text nests, without decoding it."""

from __future__ import annotations

import re
from itertools import accumulate

# A string without its closing quote runs to the end, so that no byte is ever looked at twice.
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
# Brackets become steps of a signed byte, up and down; everything else goes.
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_REST = bytes(set(range(256)) - set(b"[]{}"))
_SLICE = 65536


def is_deeper(body: bytes, limit: int) -> bool:
    """Tell whether arrays and objects nest more than `limit` deep.

    Every step runs in C, once over the text, so that a hostile text cannot buy more of our time than its
    length pays for. A text that is not JSON may count as deep or not; decoding it fails either way.
    """
    if body.count(b"{") + body.count(b"[") <= limit:
        return False
    steps = memoryview(_STRINGS.sub(b"", body).translate(_STEPS, _REST)).cast("b")
    depth = 0
    for start in range(0, len(steps), _SLICE):
        depths = list(accumulate(steps[start : start + _SLICE], initial=depth))
        if max(depths) > limit:
            return True
        depth = depths[-1]
    return False
