"""Starting again what died."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Protocol

from sluice_stack.processes import Process, StackError

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_SETTLED = 60.0


class HasProcess(Protocol):
    """A service or a server, whose process may be another after each start."""

    @property
    def process(self) -> Process:
        """The process that was started last."""


class Watched:
    """A process that is started again, after a growing pause, whenever it dies.

    Parameters
    ----------
    name
        What messages call it.
    owner
        Has its process, once it was started.
    launch
        Starts it, without waiting until it is ready.
    say
        Takes one line for the operator.
    """

    def __init__(
        self, name: str, owner: HasProcess, launch: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        self.name = name
        self._owner = owner
        self._launch = launch
        self._say = say
        self.deaths = 0
        self._pause = _FIRST_PAUSE
        self._due: float | None = None
        self._started = 0.0

    @property
    def process(self) -> Process:
        """Its process."""
        return self._owner.process

    def start(self, now: float) -> None:
        """Start it."""
        self._launch()
        self._started = now
        self._due = None

    def poll(self, now: float) -> None:
        """See whether it lives; say it if it died, and start it again when its pause is over."""
        if self.process.running:
            if now - self._started > _SETTLED:
                self._pause, self.deaths = _FIRST_PAUSE, 0
            return
        if self._due is None:
            self.deaths += 1
            self._later(now, _ending(self.process))
        elif now >= self._due:
            try:
                self.start(now)
            except StackError as error:
                self._later(now, f"cannot be started: {error}")

    def _later(self, now: float, why: str) -> None:
        self._say(f"{self.name} {why}; starting it again in {self._pause:g} s")
        self._due = now + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)


def _ending(process: Process) -> str:
    code = process.exit_code
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name} (log: {process.log})"
    return f"ended with code {code} (log: {process.log})"
