"""The same resources again under ids of their own, so that a store can grow."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

_UUID = re.compile(rb"[0-9a-f]{8}(?=-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
_PIECE = 1 << 22


async def renamed(path: Path, mark: bytes) -> AsyncIterator[bytes]:
    """Give a file whose ids, and references to them, all begin with `mark`."""
    change: Callable[[bytes], bytes] = partial(_UUID.sub, lambda found: mark + found[0][len(mark) :])
    rest = b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            whole, _, rest = (rest + piece).rpartition(b"\n")
            yield change(whole + b"\n")
    if rest:
        yield change(rest)
