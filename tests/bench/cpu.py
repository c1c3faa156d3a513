"""Processor time of what is measured: on a busy machine it says more than the clock does."""

from __future__ import annotations

import psutil


class ProcessorTime:
    """The processor time of this process and of a server's children, since it was made.

    Parameters
    ----------
    server
        The id of Postgres's first process: its backends are its children.
    """

    def __init__(self, server: int) -> None:
        self._own = psutil.Process()
        self._server = psutil.Process(server)
        self._began = self._now()

    def _now(self) -> dict[int, float]:
        processes = [self._own, *self._server.children(recursive=True)]
        return {process.pid: sum(process.cpu_times()[:2]) for process in processes}

    def per(self, count: int) -> float:
        """Give microseconds for each of `count` things; processes that have ended meanwhile do not count."""
        spent = sum(now - self._began.get(pid, 0.0) for pid, now in self._now().items())
        return spent / count * 1e6
