"""Temporary folders fit for servers: short names, others may pass through, in memory where there is room.

Tests kill processes and not machines, so nothing that they hold needs a disk, and a database is copied in
memory in a tenth of the time. Benches, which do not run under pytest, measure what a disk takes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_PREFIX = "sluice-test-"
_MEMORY = Path("/dev/shm")
# Two test processes with a whole stack each take a fifth of it.
_ROOM = 5 * 2**30
_places = [Path(tempfile.gettempdir())]


def pytest_configure() -> None:
    """Have folders be in memory from now on, if this machine has room for them there."""
    if _MEMORY.is_dir() and min(shutil.disk_usage(_MEMORY).free, psutil.virtual_memory().available) > _ROOM:
        _places.append(_MEMORY)


@contextmanager
def scratch_folder(*, on_disk: bool = False) -> Iterator[Path]:
    """Give a short-named temporary folder, and clear those that killed test runs left.

    Ask for one `on_disk` if gigabytes go there.
    """
    place = _places[0] if on_disk else _places[-1]
    for left in place.glob(f"{_PREFIX}*"):
        owner = left.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
