"""A service that is asked to stop while it still waits for Postgres or Kafka stops in order, at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sluice_stack.home import Home, Secrets
from sluice_stack.layout import HTTP_SERVICES, SERVICES, Layout, Ports
from sluice_stack.processes import Process, wait_until
from support.stack import Database

# Nothing listens on it: it is reserved.
NOWHERE = "127.0.0.1:1"


@contextmanager
def services(folder: Path, names: tuple[str, ...], dsn: Mapping[str, str]) -> Iterator[list[Process]]:
    """Run services side by side, with a Kafka that is not there."""
    layout = Layout(Home(folder), Ports.free(), services=names)
    plans = layout.plans(NOWHERE, dsn, Secrets.new())
    processes = [Process(plan.name, plan.command, plan.log, environment=plan.environment) for plan in plans]
    try:
        for process in processes:
            process.start()
        yield processes
    finally:
        for process in processes:
            process.kill()


def says(process: Process, what: str) -> bool:
    return what in process.log.read_text()


def stopped_while_waiting(processes: list[Process], what: str) -> dict[str, int | None]:
    """Ask every process to stop once it says that it waits for `what`; give their exit codes."""
    for process in processes:
        wait_until(partial(says, process, what), process, 120)
    for process in processes:
        process.send(signal.SIGTERM)
    # One that is deaf ends too, after the 30 s it has, but with another code.
    assert all(process.wait(120) for process in processes)
    return {process.name: process.exit_code for process in processes}


def test_no_service_that_waits_for_postgres_is_deaf_to_a_stop(scratch: Path) -> None:
    away = {name: f"postgresql://sluice_{name}@{NOWHERE}/sluice" for name in SERVICES}
    names = tuple(name for name in SERVICES if name != "insight")  # which has no database
    with services(scratch, names, away) as processes:
        codes = stopped_while_waiting(processes, "waiting for Postgres")
        assert codes == dict.fromkeys(names, os.EX_OK)


def test_no_service_that_waits_for_kafka_is_deaf_to_a_stop(database: Database, scratch: Path) -> None:
    # The HTTP services serve meanwhile: they do not wait for Kafka.
    names = tuple(name for name in SERVICES if name not in HTTP_SERVICES)
    with services(scratch, names, {name: database.dsn_for(name) for name in names}) as processes:
        codes = stopped_while_waiting(processes, "waiting for Kafka")
        assert codes == dict.fromkeys(names, os.EX_OK)
