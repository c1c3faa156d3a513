"""The compose stack in podman's containers, and what a check does with it.

Podman has no systemd here to time health checks and to start what waits for them: both are done by hand.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SERVICES = sorted(folder.name for folder in (CHECKOUT / "services").iterdir() if folder.is_dir())
STORES = ("kafka", "postgres", "objects")
FETCHERS = 3
_PROJECT = "sluice-check"
_HERE = Path(__file__).resolve().parent
_PROFILES = ("--profile", "demo", "--profile", "obs", "--profile", "tools")
_PATIENCE = 120.0
_LAST_LINES = 15


class CheckError(Exception):
    """Something is not as it should be; the text says what."""


def require(holds: object, otherwise: str) -> None:
    """Raise a CheckError with that text unless something holds."""
    if not holds:
        raise CheckError(otherwise)


def until(happened: Callable[[], bool], otherwise: str, seconds: float = _PATIENCE) -> None:
    """Wait until something has happened."""
    deadline = time.monotonic() + seconds
    while not happened():
        require(time.monotonic() < deadline, otherwise)
        time.sleep(1)


@dataclass(frozen=True, slots=True)
class Stack:
    """The stack.

    Parameters
    ----------
    work
        The check's folder: tools and secrets are in it.
    """

    work: Path

    @property
    def secrets(self) -> Path:
        """The folder that the stack's secrets are in."""
        return self.work / "secrets"

    # -- commands

    def podman(self, *words: str) -> str:
        """Run podman, and give what it prints."""
        return _run(["podman", *words])

    def compose(self, *words: str, version: str = "latest") -> str:
        """Run podman-compose with the compose file and the check's settings; `version` is the images' tag."""
        tool = [str(self.work / "tools/bin/podman-compose"), "-p", _PROJECT]
        return _run(
            [*tool, "--env-file", str(_HERE / "check.env"), *_PROFILES, *words], {"SLUICE_VERSION": version}
        )

    def host(self, script: str, *words: str) -> str:
        """Run a script of the checkout on this machine, with the checkout's environment."""
        return _run([sys.executable, script, *words])

    def once(self, service: str, *words: str, version: str = "latest", options: tuple[str, ...] = ()) -> str:
        """Run a command to its end in a container of its own, as `docker compose run --rm` does."""
        return self.compose("run", "--rm", "--no-deps", "-T", *options, service, *words, version=version)

    def inside(self, service: str, *words: str) -> str:
        """Run a command in the service's first container, as `docker compose exec` does."""
        return self.podman("exec", self.containers(service)[0], *words)

    def sql(self, statement: str) -> str:
        """Have Postgres do something, and give the rows it answers with."""
        psql = ("psql", "-h", "/var/run/postgresql", "-U", "postgres", "-d", "sluice", "-X", "-q", "-A", "-t")
        return self.inside("postgres", *psql, "-c", statement).strip()

    # -- containers

    def containers(self, *services: str) -> list[str]:
        """Give the ids of the services' containers, in the order of the services."""
        label = "label=com.docker.compose."
        return [
            container
            for service in services
            for container in self.podman(
                "ps", "-aq", "--filter", f"{label}project={_PROJECT}", "--filter", f"{label}service={service}"
            ).split()
        ]

    def healthy(self, *services: str) -> None:
        """Wait until every container of the services says that it is."""
        for service in services:
            for container in self.containers(service):
                until(partial(self._is_healthy, container), f"{service} is not healthy")

    def _is_healthy(self, container: str) -> bool:
        state = self.podman("inspect", "--format", "{{.Name}} {{.State.Status}}", container).split()
        require(state[1] == "running", f"{state[0]} ended")
        try:
            self.podman("healthcheck", "run", container)
        except CheckError:
            return False
        return True

    def start_stores(self) -> None:
        """Start the stores, and run the one-shot commands to their end."""
        self.compose("up", "-d", "--no-deps", *STORES)
        self.healthy(*STORES)
        self.compose("up", "-d", "--no-deps", "migrate", "topics")
        for command in ("migrate", "topics"):
            (container,) = self.containers(command)
            require(self.podman("wait", container).strip() == "0", f"{command} failed")

    def start_services(self, *, version: str = "latest") -> None:
        """Start the services, or what has another image now anew, and then what is around them."""
        scale = ("--scale", f"fetcher={FETCHERS}")
        self.compose("up", "-d", "--no-deps", *scale, *SERVICES, version=version)
        self.healthy(*SERVICES)
        self.compose("up", "-d", "--no-deps", "proxy", "source", version=version)
        self.healthy("proxy", "source")

    def restart(self) -> None:
        """Restart every service, the gateway first, as when a secret has changed."""
        others = [service for service in SERVICES if service != "gateway"]
        self.podman("restart", *self.containers("gateway", *others))
        self.healthy(*SERVICES)

    def remove(self, *services: str, volume: str | None = None) -> None:
        """Stop and remove containers, and with them a volume if one is named."""
        if found := self.containers(*services):
            self.podman("stop", *found)
            self.podman("rm", *found)
        if volume is not None:
            self.podman("volume", "rm", f"{_PROJECT}_{volume}")


def _run(command: list[str], more: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(  # noqa: S603 - the check's own commands
        command, cwd=CHECKOUT, env={**os.environ, **(more or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if "systemd" not in line]
        lines = "\n".join(said[-_LAST_LINES:])
        raise CheckError(f"{' '.join(command)} ended with {done.returncode}:\n{lines}")
    return done.stdout
