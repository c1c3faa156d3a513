"""Processes of the stack: started on a tether, logged to a file, stopped for certain."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

_TETHER = Path(__file__).with_name("tether.py")
# Below what Linux, macOS and Windows give to connections, above what well-known services use.
_OURS = (10_240, 32_768)
_given: set[int] = set()
_claims: deque[socket.socket] = deque()
# More than anybody asks for before they listen on the first.
_MOST_CLAIMS = 128
_LOG_LIMIT = 20 * 2**20


class StackError(Exception):
    """Something that keeps the stack from running, said in one line that an operator can act on."""


class Process:
    """A program that ends when this process does.

    Parameters
    ----------
    name
        What messages call it.
    command
        The program and its arguments.
    log
        The file that its output is appended to; one over 20 MB is set aside as `.1` at a start.
    environment
        The program's whole environment; this process's own if left out.
    user
        The system user it runs as, if it is another.
    orphaned
        The signal it gets when this process dies without having stopped it.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        orphaned: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._environment = dict(os.environ if environment is None else environment)
        self._user = user
        self._orphaned = orphaned
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the program; call it from a thread that lives as long as the program should."""
        if self.running:
            raise StackError(f"{self.name} runs already")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        tether = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), str(int(self._orphaned))]
        with self.log.open("ab") as output:
            self._popen = subprocess.Popen(  # noqa: S603 - the stack's own programs
                [*tether, self._user or "-", *self._command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                # A Ctrl-C in the terminal is for the supervisor, which then stops things in order.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id, also after the program ended."""
        if self._popen is None:
            raise StackError(f"{self.name} was never started")
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the program runs now."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the program ended (negative: by that signal), or None."""
        return None if self._popen is None else self._popen.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the program still runs."""
        if self._popen is not None:
            self._popen.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """Wait for the program's end and say whether it came within `seconds`."""
        if self._popen is None:
            return True
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, seconds: float = 30.0, ask: signal.Signals = signal.SIGTERM) -> None:
        """Ask the program to end, and after `seconds` end it."""
        self.send(ask)
        if not self.wait(seconds):
            self.kill()

    def kill(self) -> None:
        """End the program at once, as a crash would, with all that it started."""
        if self._popen is None:
            return
        family = _descendants(self._popen.pid)
        self.send(signal.SIGKILL)
        self.wait(10)
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=10)

    def last_words(self, lines: int = 3) -> str:
        """Give the end of the program's log on one line."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as handle:
            handle.seek(max(0, self.log.stat().st_size - 4096))
            text = handle.read().decode(errors="replace")
        found = [line.strip() for line in text.splitlines() if line.strip()]
        return " | ".join(found[-lines:])


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_until(ready: Callable[[], bool], process: Process, seconds: float) -> None:
    """Wait until `ready()`, for as long as the process lives and at most `seconds`.

    Raises
    ------
    StackError
        The process ended, or the time is up.
    """
    deadline = time.monotonic() + seconds
    pause = 0.05
    while not ready():
        if not process.running:
            raise StackError(
                f"{process.name} ended with code {process.exit_code} while starting; "
                f"see {process.log}: {process.last_words()}"
            )
        if time.monotonic() > deadline:
            raise StackError(f"{process.name} was not ready after {seconds:.0f} s; see {process.log}")
        time.sleep(pause)


def free_port() -> int:
    """Give a TCP port on the loopback address that nothing listens on now, and that was not given before.

    It is none of those that the system gives to connections: one of these would be taken again by the time
    that whoever asked comes to listen on it. Nor do two who ask get the same, though neither listens yet,
    also if they are two processes.
    """
    while (port := random.randrange(*_OURS)) in _given or port_taken(port) or not _claimed(port):  # noqa: S311
        continue
    _given.add(port)
    return port


def _claimed(port: int) -> bool:
    """Keep a port from other processes that ask for one, and say whether none of them has done so.

    The claim is the port of that number for datagrams, which nothing here uses; it goes with this process.
    """
    claim = socket.socket(type=socket.SOCK_DGRAM)
    try:
        claim.bind(("127.0.0.1", port))
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    if len(_claims) > _MOST_CLAIMS:
        _claims.popleft().close()
    return True


def port_taken(port: int, host: str = "127.0.0.1") -> bool:
    """Say whether something else already listens on the port."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still closing is not taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
        return False


def answers(host: str, port: int) -> bool:
    """Say whether a connection to the port is accepted."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False
