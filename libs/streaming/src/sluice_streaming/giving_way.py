"""Computing after others: for services whose work in bulk may wait for what people wait for."""

from __future__ import annotations

import os
import time
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

_AUTOGROUP = Path("/proc/self/autogroup")
# The kernel lets the unprivileged change one group each tenth of a second, of all on the machine.
_PAUSE, _TRIES = 0.1, 20


def give_way(nice: int, autogroup: Path = _AUTOGROUP) -> None:
    """Have this process compute after others that want the processor; alone it is as fast as before.

    Linux weighs sessions against each other before it looks at the processes in them (sched(7), "The
    autogroup feature"), so the session gives way too where it is this process's own. Between containers
    their own weights count, and nothing here does.

    Parameters
    ----------
    nice
        How far, 0 (not at all) to 19.
    """
    if not nice:
        return
    os.nice(max(0, nice - os.nice(0)))
    if os.getsid(0) != os.getpid():
        return
    try:
        _write(f"{nice}\n", autogroup)
    except OSError as error:
        # There are no such groups, or the container may not say.
        log.info("the session's priority stays", error=type(error).__name__)


def _write(text: str, autogroup: Path) -> None:
    for _ in range(_TRIES - 1):
        try:
            autogroup.write_text(text)
        except BlockingIOError:
            # Another process that starts just now was first.
            time.sleep(_PAUSE)
        else:
            return
    autogroup.write_text(text)
