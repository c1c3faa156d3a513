"""Computing after others: for services whose work in bulk may wait for what people wait for."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

_AUTOGROUP = Path("/proc/self/autogroup")


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
        autogroup.write_text(f"{nice}\n")
    except OSError as error:
        # There are no such groups, or the container may not say.
        log.info("the session's priority stays", error=type(error).__name__)
