"""Fixtures for tests that need the real thing: embedded Kafka and Postgres, started when first asked for.

| fixture | scope | gives |
|---|---|---|
| `kafka` | session | bootstrap address; shared, so use topic and group names of your own (`unique`) |
| `module_kafka` | module | a `Kafka` of its own, for the real topic names |
| `mortal_kafka` | module | the same, to kill and restart |
| `postgres` | session | URL of the administrator, in a migrated database shared by the session |
| `database` | test | a fresh migrated `Database`; `database.dsn_for("fetcher")` is a service's URL |
| `module_database` | module | the same, for all tests of a module |
| `module_postgres` | module | a `Postgres` of its own, to kill and restart |
| `scratch` | test | a temporary folder fit for servers |
| `unique` | test | `unique("name")`, a name that no other test has |

Roles belong to the whole server: they exist once, made by the first migration, and every database made from
the template refers to them. Nothing outlives the test run, also when it is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from sluice_stack.kafka import Kafka
from sluice_stack.postgres import ADMIN, Postgres
from sluice_storage.migrate import migrate
from support.scratch import scratch_folder

TEMPLATE = "sluice_template"
# A machine that is busy for seconds must not make a broker that nobody kills let go of its topics.
STEADY = 3600.0


@dataclass(frozen=True, slots=True)
class Database:
    """One database of a running server."""

    server: Postgres
    name: str

    @property
    def dsn(self) -> str:
        """The administrator's URL."""
        return self.server.dsn(ADMIN, self.name)

    def dsn_for(self, role: str) -> str:
        """Give a service's URL; `role` is `fetcher` or `sluice_fetcher`."""
        return self.server.dsn(f"sluice_{role.removeprefix('sluice_')}", self.name)


def make_template(server: Postgres) -> None:
    """Make the migrated database that all others are copied from."""
    _execute(server, "CREATE DATABASE {}", TEMPLATE)
    migrate(server.dsn(ADMIN, TEMPLATE))


@contextmanager
def fresh_database(server: Postgres) -> Iterator[Database]:
    """Give a migrated database for the duration; the server must have the template."""
    name = f"test_{uuid4().hex[:12]}"
    # Copied as files: by the log, page by page, takes twice the processor's time.
    _execute(server, "CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", name, TEMPLATE)
    try:
        yield Database(server, name)
    finally:
        _execute(server, "DROP DATABASE {} WITH (FORCE)", name)


def _execute(server: Postgres, statement: str, *names: str) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(SQL(statement).format(*map(Identifier, names)))


@contextmanager
def running_kafka(**options: Any) -> Iterator[Kafka]:
    """Run a broker on a free port with its data in a temporary folder; `options` are for `Kafka`."""
    with scratch_folder() as folder:
        server = Kafka(folder, **options)
        try:
            server.start()
            yield server
        finally:
            server.stop(5)


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Run a server with the migrated template in a temporary folder."""
    with scratch_folder() as folder:
        # Tests kill processes, not machines: what is written outlives the server without reaching the disk.
        server = Postgres(folder, {"fsync": "off"})
        try:
            server.start()
            make_template(server)
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Give the bootstrap address of the broker that all tests share."""
    with running_kafka(session=STEADY) as server:
        yield server.bootstrap


@pytest.fixture(scope="module")
def module_kafka() -> Iterator[Kafka]:
    """Give a broker of the module's own."""
    with running_kafka(session=STEADY) as server:
        yield server


@pytest.fixture(scope="module")
def mortal_kafka() -> Iterator[Kafka]:
    """Give a broker of the module's own that is soon let in again after it was killed."""
    with running_kafka() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """Give the server that all tests share; leave it running."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def module_postgres() -> Iterator[Postgres]:
    """Give a server of the module's own."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres(postgres_server: Postgres) -> Iterator[str]:
    """Give the administrator's URL of a migrated database that the session shares."""
    with fresh_database(postgres_server) as database:
        yield database.dsn


@pytest.fixture
def database(postgres_server: Postgres) -> Iterator[Database]:
    """Give a fresh migrated database."""
    with fresh_database(postgres_server) as database:
        yield database


@pytest.fixture(scope="module")
def module_database(postgres_server: Postgres) -> Iterator[Database]:
    """Give a fresh migrated database for the module."""
    with fresh_database(postgres_server) as database:
        yield database


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Give a temporary folder with a name short enough for sockets, which other users may pass through."""
    with scratch_folder() as folder:
        yield folder


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Give names that no other test has."""
    mark = uuid4().hex[:8]
    return lambda name: f"{name}-{mark}"
