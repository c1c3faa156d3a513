"""Reading objects as the store has them: what was written before contents were encrypted, and for backups."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import obstore
from obstore.store import ObjectStore as Backend

from sluice_storage.objects_upload import translated

_WINDOW = 2 * 1024 * 1024


async def read_plain(
    backend: Backend, name: str, start: int, end: int, window: int = _WINDOW
) -> AsyncGenerator[memoryview]:
    """Yield an object's bytes from `start` up to before `end`, up to `window` of them at a time.

    Raises
    ------
    MissingObjectError
        It is not there.
    ObjectStoreError
        The store failed, or the object ends before.
    """
    for at in range(start, end, window):
        # A request of its own for each: a cloud's request ends after 30 s, however slow the reader is.
        with translated():
            got = await obstore.get_range_async(backend, name, start=at, end=min(at + window, end))
        yield memoryview(got)
