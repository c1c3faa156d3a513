"""The whole stack on one machine: Kafka, Postgres and every service, started, watched and stopped."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import psycopg

from sluice_stack.apart import run_apart
from sluice_stack.home import Addresses
from sluice_stack.kafka import Kafka
from sluice_stack.layout import SERVICES, Layout, Plan
from sluice_stack.postgres import ADMIN, Postgres
from sluice_stack.processes import Process, StackError
from sluice_stack.watch import Watched
from sluice_storage.migrate import migrate
from sluice_streaming.topics_admin import create

DATABASE = "sluice"
# Deaths of one service, before it was ever ready, after which the stack does not come up.
_GIVE_UP = 3


def create_database(postgres: Postgres) -> None:
    """Create the stack's database, unless it is there."""
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
        if known is None:
            connection.execute(f"CREATE DATABASE {DATABASE}")


class Service:
    """One service process of the stack, for those who want to kill it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.process = Process(plan.name, plan.command, plan.log, environment=plan.environment)

    def ready(self) -> bool:
        """Ask the service whether it can do its work."""
        address = urlsplit(self.plan.ready)
        connection = http.client.HTTPConnection(address.netloc, timeout=2.0)
        try:
            connection.request("GET", address.path)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class Stack:
    """Use as a context manager: inside, everything is up.

    Start it from a thread that lives as long as the stack should, such as the main one, and call `poll`
    now and then to have what died started again.

    Parameters
    ----------
    layout
        What to run.
    say
        Takes one line at a time for the operator.
    """

    def __init__(self, layout: Layout, say: Callable[[str], None] = lambda _line: None) -> None:
        self.layout = layout
        self._say = say
        folder = layout.home.folder
        self.kafka = Kafka(folder / "kafka", layout.ports.kafka)
        self.postgres = Postgres(folder / "postgres")
        self.services: dict[str, Service] = {}
        self._watched: list[Watched] = []
        self._polling = threading.Lock()
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def dsn(self, role: str = ADMIN) -> str:
        """Give the URL at which a role reaches the stack's database."""
        return self.postgres.dsn(role, DATABASE)

    def start(self, wait: float = 240.0) -> None:
        """Start everything and wait until all of it is ready.

        Raises
        ------
        StackError
            Something is in the way, or did not come up; nothing is left running then.
        """
        try:
            self._start(wait)
        except BaseException:
            self.stop(5.0)
            raise

    def _start(self, wait: float) -> None:
        layout = self.layout
        self._cleanup.enter_context(layout.home)
        layout.ports.check()
        first = "" if layout.home.secrets_file.exists() else " (the first time, Kafka is downloaded)"
        layout.home.protect()
        secrets = layout.home.secrets()
        self._say(f"starting Kafka and Postgres{first}")
        self.kafka.launch()
        self.postgres.launch()
        self.postgres.wait()
        self._migrate()
        self.kafka.wait()
        run_apart(create(self.kafka.bootstrap))
        dsn = {service: self.dsn(f"sluice_{service}") for service in SERVICES}
        for plan in layout.plans(self.kafka.bootstrap, dsn, secrets):
            self.services[plan.name] = Service(plan)
        self._say(f"starting {', '.join(self.services)}")
        self._watch()
        self._wait_for_services(wait)
        layout.home.announce(self.addresses)

    def _migrate(self) -> None:
        create_database(self.postgres)
        migrate(self.dsn())

    def _watch(self) -> None:
        now = time.monotonic()
        for name, service in self.services.items():
            watched = Watched(name, service, service.process.start, self._say)
            watched.start(now)
            self._watched.append(watched)
        self._watched.append(Watched("Kafka", self.kafka, self.kafka.launch, self._say))
        self._watched.append(Watched("Postgres", self.postgres, self.postgres.launch, self._say))

    def _wait_for_services(self, wait: float) -> None:
        deadline = time.monotonic() + wait
        waiting = dict(self.services)
        while waiting:
            self.poll()
            for watched in self._watched:
                if watched.deaths >= _GIVE_UP:
                    words = watched.process.last_words(1)
                    raise StackError(f"{watched.name} does not start: {words} (log: {watched.process.log})")
            waiting = {name: each for name, each in waiting.items() if not each.ready()}
            if time.monotonic() > deadline:
                raise StackError(
                    f"not ready after {wait:.0f} s: {', '.join(waiting)} (logs: {self.layout.home.logs})"
                )
            time.sleep(0.1)

    @property
    def addresses(self) -> Addresses:
        """Where everything is."""
        layout = self.layout
        return Addresses(
            supervisor=os.getpid(),
            gateway=layout.gateway_url,
            auth=layout.auth_url,
            kafka=self.kafka.bootstrap,
            postgres=self.dsn(),
            source=layout.source_url if layout.source else None,
        )

    def poll(self) -> None:
        """Start again what died, when it is time to."""
        with self._polling:
            now = time.monotonic()
            for watched in self._watched:
                watched.poll(now)

    def stop(self, wait: float = 30.0) -> None:
        """Stop the services, within `wait` seconds in order, then Kafka and Postgres. May be called twice."""
        # Whoever polls in another thread must not start again what is stopped here.
        with self._polling:
            self._watched.clear()
        try:
            running = [service.process for service in self.services.values() if service.process.running]
            for process in running:
                process.send(signal.SIGTERM)
            deadline = time.monotonic() + wait
            for process in running:
                if not process.wait(max(0.0, deadline - time.monotonic())):
                    self._say(f"{process.name} did not stop within {wait:.0f} s; ending it")
                    process.kill()
        finally:
            # Also when a second Ctrl-C cuts the wait short: the rest of the services die with this process.
            self.kafka.stop()
            self.postgres.stop()
            self._cleanup.close()
