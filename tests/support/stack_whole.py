"""Fixtures of the whole stack and of the demo source, each in processes of their own.

| fixture | scope | gives |
|---|---|---|
| `demo_source` | session | a running demo FHIR source: `demo_source.base("r4")`, `.credentials` |
| `stack` | session | a running `Stack` with every service and the demo source; shared, so kill nothing |
| `module_stack` | module | one of the module's own, to kill things in; what dies is started again |

`running_stack(...)` gives a stack of any other shape.
"""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sluice_stack.home import Home
from sluice_stack.layout import SERVICES, Layout, Ports
from sluice_stack.processes import Process, free_port, wait_until
from sluice_stack.source.protection import Credentials
from sluice_stack.stack import Stack
from support.frozen import frozen
from support.scratch import scratch_folder

# Sources are given up soon, so that also those that never answer or always refuse end their items in a test.
IMPATIENT = {"SLUICE_SOURCE_ANSWER": "5", "SLUICE_SOURCE_IDLE": "5", "SLUICE_ATTEMPTS": "3"}


@dataclass(frozen=True, slots=True)
class DemoSource:
    """A demo source that runs in a process of its own."""

    url: str
    credentials: Credentials

    def base(self, name: str) -> str:
        """Give a base URL: `synthea`, `ncpi`, `r4`, `bearer` or `oauth`."""
        return f"{self.url}/{name}/fhir"

    def document(self, name: str, base: str = "r4") -> str:
        """Give the URL of a document."""
        return f"{self.base(base)}/DocumentReference/{name}"

    @property
    def token_url(self) -> str:
        """Where tokens for the `oauth` base come from."""
        return f"{self.url}/oauth/token"


@contextmanager
def running_source() -> Iterator[DemoSource]:
    """Run the demo source on a free port."""
    credentials = Credentials()
    port = free_port()
    command = [sys.executable, "-m", "sluice_stack.source", "--port", str(port)]
    command += ["--bearer", credentials.bearer, "--client-secret", credentials.client_secret]
    with scratch_folder() as folder:
        process = Process("source", command, folder / "source.log")
        process.start()
        try:
            wait_until(lambda: _ready(f"http://127.0.0.1:{port}/readyz"), process, 120)
            yield DemoSource(f"http://127.0.0.1:{port}", credentials)
        finally:
            process.stop(5)


def _ready(url: str) -> bool:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=2)
    try:
        connection.request("GET", address.path)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def running_stack(
    home: Path | None = None,
    *,
    scale: Mapping[str, int] | None = None,
    services: tuple[str, ...] = SERVICES,
    source: bool = True,
    settings: Mapping[str, str] | None = None,
    on_disk: bool = False,
) -> Iterator[Stack]:
    """Run a stack on free ports, in `home` or a temporary folder; what dies is started again."""
    with scratch_folder(on_disk=on_disk) as scratch:
        layout = Layout(
            Home(home or scratch / "home"), Ports.free(), scale or {}, source, services, settings or {}
        )
        with Stack(layout) as stack, _supervised(stack):
            yield stack


@contextmanager
def _supervised(stack: Stack) -> Iterator[None]:
    ended = threading.Event()

    def supervise() -> None:
        while not ended.wait(0.1):
            stack.poll()

    thread = threading.Thread(target=supervise, name="supervisor")
    thread.start()
    try:
        yield
    finally:
        # What the thread started lives as long as the thread, so everything is stopped before it ends.
        stack.stop()
        ended.set()
        thread.join()


@pytest.fixture(scope="session")
def demo_source() -> Iterator[DemoSource]:
    """Give a demo source that all tests share; use documents with suffixes of your own (`fault-….x`)."""
    with running_source() as source:
        yield source


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Give the whole stack, shared by all tests; it is impatient with sources."""
    with running_stack(settings=IMPATIENT) as stack:
        yield stack


@pytest.fixture(scope="module")
def module_stack() -> Iterator[Stack]:
    """Give a whole stack of the module's own, which may be given gigabytes."""
    with running_stack(on_disk=True) as stack:
        yield stack


@contextmanager
def frozen_services(stack: Stack, *names: str) -> Iterator[None]:
    """Have services do nothing for a while."""
    with frozen(*(stack.services[name].process.pid for name in names)):
        yield
