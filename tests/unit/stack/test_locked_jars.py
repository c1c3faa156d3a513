"""Java programs consist of exactly the jars that were locked, and the locks say nothing of where from."""

from __future__ import annotations

import hashlib
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jgo.env._lockfile import LockedDependency
from jgo.maven import MavenContext

from sluice_stack import jars

_NAME = "org/example/thing/1.0/thing-1.0.jar"


def _lock(name: str) -> dict[str, Any]:
    return tomllib.loads((files("sluice_stack") / "java" / name / "jgo.lock.toml").read_text())


def _spec(name: str) -> dict[str, Any]:
    return tomllib.loads((files("sluice_stack") / "java" / name / "jgo.toml").read_text())


@pytest.mark.parametrize("name", jars.PROGRAMS)
def test_every_jar_is_locked_with_its_hash(name: str) -> None:
    for jar in _lock(name)["dependencies"]:
        assert re.fullmatch("[0-9a-f]{64}", jar["sha256"]), jar["artifactId"]


@pytest.mark.parametrize("name", jars.PROGRAMS)
def test_a_lock_holds_what_is_wanted_and_no_address(name: str) -> None:
    locked = {f"{jar['groupId']}:{jar['artifactId']}:{jar['version']}" for jar in _lock(name)["dependencies"]}
    assert {each.rstrip("!") for each in _spec(name)["dependencies"]["coordinates"]} <= locked
    assert "://" not in (files("sluice_stack") / "java" / name / "jgo.lock.toml").read_text()


def _put(repository: Path, content: bytes) -> None:
    path = repository / _NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def _locked(content: bytes) -> LockedDependency:
    return LockedDependency("org.example", "thing", "1.0", sha256=hashlib.sha256(content).hexdigest())


def test_a_jar_that_was_cut_off_is_fetched_again(tmp_path: Path) -> None:
    cache, remote = tmp_path / "cache", tmp_path / "remote"
    _put(cache, b"half")
    _put(remote, b"half and half")
    context = MavenContext(repo_cache=cache, local_repos=[remote], remote_repos={})

    path = jars._fetch(context, _locked(b"half and half"))

    assert path.read_bytes() == b"half and half"


def test_a_jar_that_is_not_the_locked_one_is_refused(tmp_path: Path) -> None:
    for name in ("cache", "remote"):
        _put(tmp_path / name, b"something else")
    context = MavenContext(repo_cache=tmp_path / "cache", local_repos=[tmp_path / "remote"], remote_repos={})
    with pytest.raises(jars.JarError, match=r"^thing-1\.0\.jar is not the jar that was locked$"):
        jars._fetch(context, _locked(b"what was locked"))


def test_a_jar_that_cannot_be_had_says_which(tmp_path: Path) -> None:
    context = MavenContext(repo_cache=tmp_path, remote_repos={})
    with pytest.raises(jars.JarError, match=r"^cannot fetch thing-1\.0\.jar"):
        jars._fetch(context, _locked(b"anything"))
