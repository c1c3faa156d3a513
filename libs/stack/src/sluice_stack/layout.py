"""Which services a stack has, how many of each, where they listen and what they are told."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from sluice_stack.home import Home, Secrets
from sluice_stack.processes import StackError, free_port, port_taken

DEMO, OPERATOR = "demo", "operator"
"""The people who can sign in from the start."""
HTTP_SERVICES = ("auth", "gateway")
WORKERS = ("fetcher", "scraper", "attacher", "status", "exporter", "expirer", "puller", "insight", "webhooks")
# Insight's views tell what one process has seen: it runs once.
SCALED = tuple(name for name in WORKERS if name != "insight")
SERVICES = (*WORKERS, *HTTP_SERVICES)
_PORTS_END = 65536
_SCHEMAS = Path(__file__).resolve().parents[4] / "schemas" / "scrape"


@dataclass(frozen=True)
class Ports:
    """The loopback ports of a stack; from `health` on, workers answer health checks."""

    gateway: int = 8080
    auth: int = 8081
    source: int = 8090
    health: int = 8100
    kafka: int = 9092
    insight: int = 8082

    @classmethod
    def free(cls) -> Ports:
        """Choose ports that nothing uses now; `health` is 0, which has each worker choose one for itself."""
        own = {name: free_port() for name in ("gateway", "auth", "insight", "source", "kafka")}
        return cls(**own, health=0)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Ports:
        """Take ports from `SLUICE_GATEWAY_PORT` and the like, the usual ones where these say nothing.

        Raises
        ------
        StackError
            One of them is no port.
        """
        chosen = {}
        for each in fields(cls):
            name = f"SLUICE_{each.name.upper()}_PORT"
            text = environment.get(name, "")
            if text and not (text.isdigit() and 0 < int(text) < _PORTS_END):
                raise StackError(f"{name} must be a port, not {text!r}")
            if text:
                chosen[each.name] = int(text)
        return cls(**chosen)

    def check(self) -> None:
        """Make sure that nothing else listens on them.

        Raises
        ------
        StackError
            Something does; the text says on which, and what to do.
        """
        for each in fields(self):
            port = getattr(self, each.name)
            if port:
                check_port(port, each.name, each.name)


def check_port(port: int, user: str, setting: str) -> None:
    """Make sure that nothing else listens on a port that `user` needs, and which `setting` chooses.

    Raises
    ------
    StackError
        Something does; the text says what to do.
    """
    if port_taken(port):
        raise StackError(
            f"port {port} is in use, and {user} needs it: "
            f"stop what listens there, or choose another with SLUICE_{setting.upper()}_PORT"
        )


def usual_scale() -> dict[str, int]:
    """Give how many processes workers have on a machine like this: two exporters where they find a processor.

    Threads of one process wait for its interpreter's lock, so that two exporters are faster (ADR 53).
    """
    return {"exporter": min(os.cpu_count() or 1, 2)}


@dataclass(frozen=True, slots=True)
class Plan:
    """One process to run: `name` in messages, `ready` the address that says whether it is ready."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    ready: str


@dataclass(frozen=True, slots=True)
class Layout:
    """A stack as it is to be.

    Parameters
    ----------
    home
        Where its data is.
    ports
        Where it listens.
    scale
        How many processes a worker has, where it is not one.
    source
        Whether the demo source runs too.
    services
        Which services run; all, unless a test wants fewer.
    settings
        Further environment for every service (`SLUICE_CONCURRENCY` and the like).
    """

    home: Home
    ports: Ports = field(default_factory=Ports)
    scale: Mapping[str, int] = field(default_factory=dict)
    source: bool = False
    services: tuple[str, ...] = SERVICES
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, count in self.scale.items():
            if name not in SCALED:
                raise StackError(f"{name} cannot be scaled: only {', '.join(SCALED)} can")
            if not 1 <= count <= 9:
                raise StackError(f"{name} can have 1 to 9 processes, not {count}")

    @property
    def gateway_url(self) -> str:
        """The gateway's address."""
        return f"http://127.0.0.1:{self.ports.gateway}"

    @property
    def auth_url(self) -> str:
        """The authorization server's address."""
        return f"http://127.0.0.1:{self.ports.auth}"

    @property
    def insight_url(self) -> str:
        """The address of insight's views."""
        return f"http://127.0.0.1:{self.ports.insight}"

    @property
    def source_url(self) -> str:
        """The demo source's address."""
        return f"http://127.0.0.1:{self.ports.source}"

    def plans(self, kafka: str, dsn: Mapping[str, str], secrets: Secrets) -> Iterator[Plan]:
        """Give every process to run; `dsn` is Postgres's address by service.

        Raises
        ------
        StackError
            A port that a worker answers health checks on is in use.
        """
        health: dict[str, str] = {}
        for order, service in enumerate(WORKERS):
            count = self.scale.get(service, 1) if service in self.services else 0
            for index in range(count):
                name = service if count == 1 else f"{service}-{index + 1}"
                port = self.ports.health + 10 * order + index if self.ports.health else free_port()
                check_port(port, name, "health")
                environment = self._environment(kafka, dsn[service], secrets)
                environment["SLUICE_HEALTH"] = f"127.0.0.1:{port}"
                health[name] = f"http://127.0.0.1:{port}"
                # One that died takes its share of the work up again the moment it is back.
                environment["SLUICE_INSTANCE"] = name
                if service == "insight":
                    # It has no database.
                    del environment["SLUICE_POSTGRES"]
                    environment["SLUICE_LISTEN"] = self.insight_url.removeprefix("http://")
                yield self._plan(name, f"sluice_{service}", environment, f"http://127.0.0.1:{port}")
        for service in HTTP_SERVICES:
            if service not in self.services:
                continue
            url = getattr(self, f"{service}_url")
            environment = self._environment(kafka, dsn[service], secrets)
            environment["SLUICE_LISTEN"] = url.removeprefix("http://")
            if service == "gateway":
                environment["SLUICE_SERVICES"] = ",".join(f"{name}={at}" for name, at in health.items())
            if service == "auth":
                operator = f"{secrets.operator_id}:{secrets.operator_secret}"
                environment["SLUICE_BOOTSTRAP_OPERATOR"] = operator
                people = (
                    f"{DEMO}:{secrets.demo_password}",
                    f"{OPERATOR}:{secrets.operator_password}:operator",
                )
                environment["SLUICE_BOOTSTRAP_PEOPLE"] = " ".join(people)
            yield self._plan(service, f"sluice_{service}", environment, url)
        if self.source:
            environment = {
                **os.environ,
                "SLUICE_SOURCE_PORT": str(self.ports.source),
                "SLUICE_SOURCE_BEARER": secrets.source_bearer,
                "SLUICE_SOURCE_CLIENT_SECRET": secrets.source_client_secret,
            }
            yield self._plan("source", "sluice_stack.source", environment, self.source_url)

    def _plan(self, name: str, module: str, environment: Mapping[str, str], url: str) -> Plan:
        command = (sys.executable, "-m", module)
        return Plan(name, command, environment, self.home.logs / f"{name}.log", f"{url}/readyz")

    def _environment(self, kafka: str, dsn: str, secrets: Secrets) -> dict[str, str]:
        environment = {
            **os.environ,
            "SLUICE_KAFKA": kafka,
            "SLUICE_POSTGRES": dsn,
            "SLUICE_OBJECTS": self.home.objects.as_uri(),
            "SLUICE_PUBLIC_URL": self.gateway_url,
            "SLUICE_ISSUER": self.auth_url,
            "SLUICE_INSIGHT": self.insight_url,
            "SLUICE_SECRET": secrets.secret,
            "SLUICE_MASTER_KEYS": secrets.master_keys,
            # A stack on one machine has its sources there too.
            "SLUICE_LOOPBACK_SOURCES": "true",
            **self.settings,
        }
        if _SCHEMAS.is_dir():
            environment.setdefault("SLUICE_SCRAPE_SCHEMAS", str(_SCHEMAS))
        return environment
