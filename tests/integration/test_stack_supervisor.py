"""The supervisor with real processes: what dies comes back, data stays, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from sluice_stack.home import Home
from sluice_stack.layout import WORKERS
from sluice_stack.processes import free_port, port_taken
from support.scratch import scratch_folder
from support.stack_whole import running_stack

# These two need little and show all that the supervisor does.
FEW = ("auth", "status")


def _eventually(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def test_what_is_killed_comes_back_with_its_data() -> None:
    with running_stack(services=FEW, source=False) as stack:
        with psycopg.connect(stack.dsn(), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        before = [stack.kafka.process.pid, stack.postgres.process.pid, stack.services["auth"].process.pid]

        stack.services["auth"].process.kill()
        stack.kafka.kill()
        stack.postgres.kill()

        _eventually(lambda: stack.postgres.ready() and stack.kafka.ready() and stack.services["auth"].ready())
        after = [stack.kafka.process.pid, stack.postgres.process.pid, stack.services["auth"].process.pid]
        assert not set(before) & set(after)
        with psycopg.connect(stack.dsn()) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def test_a_second_start_finds_the_data_of_the_first(scratch: Path) -> None:
    home = scratch / "home"
    with (
        running_stack(home, services=FEW, source=False) as stack,
        psycopg.connect(stack.dsn(), autocommit=True) as connection,
    ):
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    with (
        running_stack(home, services=FEW, source=False) as stack,
        psycopg.connect(stack.dsn()) as connection,
    ):
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def _health_port() -> int:
    """Give a port from which on each worker finds one that nothing listens on."""
    while True:
        first = free_port()
        if not any(port_taken(first + 10 * order) for order in range(len(WORKERS))):
            return first


def _up(home: Path, *arguments: str) -> subprocess.Popen[str]:
    ports = [f"--{name}-port={free_port()}" for name in ("gateway", "auth", "source", "kafka")]
    ports.append(f"--health-port={_health_port()}")
    command = [sys.executable, "-m", "sluice_stack.up", "up", f"--home={home}", *ports, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def up() -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    with scratch_folder() as folder:
        home = folder / "home"
        process = _up(home)
        try:
            _eventually(lambda: process.poll() is not None or Home(home).running() is not None, 300)
            assert process.poll() is None, process.communicate()[0]
            yield home, process
        finally:
            process.kill()
            process.wait()


def test_a_second_up_in_one_home_says_so_in_one_line(up: tuple[Path, subprocess.Popen[str]]) -> None:
    second = _up(up[0])
    said = second.communicate(timeout=120)[0].strip()
    assert second.returncode == 1
    assert said.startswith("sluice cannot run: a stack runs already in ")
    assert len(said.splitlines()) == 1


def test_a_port_in_use_says_so_in_one_line(up: tuple[Path, subprocess.Popen[str]], scratch: Path) -> None:
    running = Home(up[0]).running()
    assert running is not None
    port = running.gateway.rpartition(":")[2]
    second = _up(scratch / "other", f"--gateway-port={port}")
    said = second.communicate(timeout=120)[0].strip()
    assert second.returncode == 1
    assert said.startswith(f"sluice cannot run: port {port} is in use, and gateway needs it")
    assert len(said.splitlines()) == 1


def test_ctrl_c_stops_everything_in_order(up: tuple[Path, subprocess.Popen[str]]) -> None:
    home, process = up
    family = _family(process.pid)
    assert len(family) > 8

    process.send_signal(signal.SIGINT)

    assert "stopped" in process.communicate(timeout=120)[0]
    assert process.returncode == 0
    assert not [each for each in family if each.is_running()]
    assert Home(home).running() is None


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise exists on Linux only")
def test_a_killed_supervisor_takes_everything_with_it(up: tuple[Path, subprocess.Popen[str]]) -> None:
    home, _ = up
    process = _up(home)
    _eventually(lambda: process.poll() is not None or Home(home).running() is not None, 300)
    assert process.poll() is None, process.communicate()[0]
    family = _family(process.pid)

    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    assert not psutil.wait_procs(family, timeout=120)[1]
