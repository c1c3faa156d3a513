"""What the deployment's files say: docker-compose.yml, the Dockerfile, and what the compose file mounts."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from pydantic_settings import BaseSettings

from sluice_streaming.settings import ProcessSettings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SERVICES = sorted(path.name for path in (ROOT / "services").iterdir() if (path / "pyproject.toml").exists())


@cache
def compose() -> dict[str, Any]:
    """Give docker-compose.yml, its merges resolved."""
    read: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return read


def services() -> dict[str, dict[str, Any]]:
    """Give the compose file's services."""
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def targets() -> dict[str, str]:
    """Give the Dockerfile's stages: what each begins from."""
    text = (DEPLOY / "Dockerfile").read_text()
    return {name: base for base, name in re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)}


def stage(name: str) -> str:
    """Give the instructions of one stage of the Dockerfile."""
    text = (DEPLOY / "Dockerfile").read_text()
    return re.split(r"^FROM ", text.split(f" AS {name}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def settings_of(service: str) -> list[type[BaseSettings]]:
    """Give the classes of settings that a service's process reads."""
    module = import_module(f"sluice_{service}.settings")
    return [module.Settings, ProcessSettings]


def told(service: str) -> dict[str, str]:
    """Give what a compose service is told by `SLUICE_…` variables, those with `_FILE` by their own name."""
    variables = services()[service].get("environment", {})
    ours = {name: value for name, value in variables.items() if name.startswith("SLUICE_")}
    return {name.removesuffix("_FILE"): value for name, value in ours.items()}
