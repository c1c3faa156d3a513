"""The published schemas in `schemas/`, kept as the types say, unless that would break somebody.

`python -m sluice_stack.schemas check` is part of `make lint`; `make schemas` writes what has changed. A
change that breaks a published schema is refused by both. If it has to be, the message is given its next
version in `sluice_contracts.cloudevents.VERSIONS`: the schema of that version is a new one. Which schemas
were ever published is in `published.txt`, so that none can be gone unnoticed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
import yaml

from sluice_contracts import asyncapi
from sluice_contracts.cloudevents import VERSIONS
from sluice_contracts.compatibility import breaks
from sluice_contracts.schemas import schemas

FOLDER = Path("schemas")
PUBLISHED = "published.txt"
Json = dict[str, Any]


@dataclass(slots=True)
class Drift:
    """What is not as it was published: files to write, by path, and what breaks."""

    files: dict[Path, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


def file_of(folder: Path, name: str) -> Path:
    """Give the file of a message's schema, in the folder of all schemas."""
    version = VERSIONS.get(name, 1)
    return folder / "messages" / (f"{name}.json" if version == 1 else f"{name}.{version}.json")


def drift(folder: Path, current: dict[str, Json]) -> Drift:
    """Compare what is published with the schemas of the types as they are now."""
    found = Drift()
    for name, schema in current.items():
        path = file_of(folder, name)
        if path.exists():
            told = breaks(json.loads(path.read_text("utf-8")), schema)
            found.broken += [f"{name}: {problem}" for problem in told]
        _compare(found, path, json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
    for path in sorted((folder / "messages").glob("*.json")):
        name = path.name.partition(".")[0]
        if name not in current:
            found.broken.append(f"{name}: is no message any more; records of it may still be read")
    _keep_listed(found, folder, {file_of(folder, name).name for name in current})
    _compare(found, folder / "asyncapi.yaml", written())
    return found


def _keep_listed(found: Drift, folder: Path, current: set[str]) -> None:
    """Find what was published and is gone; what is new is to be listed, nothing is taken from the list."""
    listed = set((folder / PUBLISHED).read_text("utf-8").split())
    there = current | {path.name for path in (folder / "messages").glob("*.json")}
    gone = {name for name in listed if not (folder / "messages" / name).exists()}
    found.broken += [
        f"{name}: was published and is gone; records of it may still be read" for name in sorted(gone)
    ]
    _compare(found, folder / PUBLISHED, "".join(f"{name}\n" for name in sorted(listed | there)))


def written() -> str:
    """Give the AsyncAPI document as the text that is kept."""
    text: str = yaml.safe_dump(asyncapi.document(), sort_keys=False, allow_unicode=True, width=100)
    return text


def _compare(found: Drift, path: Path, text: str) -> None:
    if not path.exists() or path.read_text("utf-8") != text:
        found.files[path] = text


app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def check() -> None:
    """Say what differs from what is published; the exit code is 1 if anything does."""
    found = drift(FOLDER, schemas())
    _tell(found)
    for path in found.files:
        print(f"{path} is not what the types say; run: make schemas", file=sys.stderr)
    raise SystemExit(1 if found.broken or found.files else 0)


@app.command()
def write() -> None:
    """Write what has changed, unless something breaks."""
    found = drift(FOLDER, schemas())
    _tell(found)
    if found.broken:
        raise SystemExit(1)
    for path, text in found.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        print(path)


def _tell(found: Drift) -> None:
    for problem in found.broken:
        print(f"breaks what is published: {problem}", file=sys.stderr)


if __name__ == "__main__":
    app()
