"""Processes that do nothing for a while, as on a machine that is out of memory or swaps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

_PAUSE = 0.005
# Stopped, or ended.
_STILL = frozenset("TtZX")


@contextmanager
def frozen(*roots: int) -> Iterator[None]:
    """Stop these processes, by their ids, and all that they started; they go on afterwards.

    Each of a process's threads stops when it gets to it: what is asked of one that was only told to stop may
    still be answered.
    """
    family = [
        each
        for process in map(psutil.Process, roots)
        for each in [process, *process.children(recursive=True)]
    ]
    try:
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.suspend()
        for each in family:
            while not _still(each.pid):
                time.sleep(_PAUSE)
        yield
    finally:
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.resume()


def _still(pid: int) -> bool:
    return all(_state(thread) in _STILL for thread in Path(f"/proc/{pid}/task").glob("*/stat"))


def _state(thread: Path) -> str:
    try:
        # A name may have brackets and blanks in it.
        return thread.read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"
