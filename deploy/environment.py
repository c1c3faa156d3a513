"""Make the environment of one member: its own dependencies from the lock, and the libraries it is made with.

`environment.py MEMBER FOLDER` (for example `services/fetcher /environments/fetcher`), run in the checkout,
with `uv` on the path. What a member needs is worked out from what it declares; what that is made of comes
from `requirements.lock`, word for word and by hash, so that an image has nothing that the tests did not have.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOCK = Path("requirements.lock")


def wanted(member: str) -> list[str]:
    """List what the member needs, one requirement a line: distributions of the lock, and `-e` for our own.

    A service can send traces, which takes more than the services themselves declare.
    """
    traces = ("libs/telemetry/pyproject.toml", "--extra", "traces") if member.startswith("services/") else ()
    done = subprocess.run(  # noqa: S603
        [
            *("uv", "pip", "compile", "-q", "--universal", "--python-version", "3.11"),
            *("--no-annotate", "--no-header", "-c", str(_LOCK), f"{member}/pyproject.toml"),
            *traces,
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()


def locked(lock: str, names: set[str]) -> str:
    """Give the lock's entries with these names, their hashes included.

    Raises
    ------
    LookupError
        The lock lacks one.
    """
    entries = {}
    for entry in re.split(r"\n(?=[a-z0-9])", lock):
        match = re.match(r"([a-z0-9-]+)==", entry)
        if match is not None:
            entries[match[1]] = entry
    lacking = names - entries.keys()
    if lacking:
        raise LookupError(f"not in {_LOCK}: {', '.join(sorted(lacking))}; run `make lock`")
    return "\n".join(entries[name] for name in sorted(names)) + "\n"


def main(member: str, folder: str) -> None:
    """Make the environment."""
    lines = wanted(member)
    ours = [unquote(urlsplit(line.removeprefix("-e ")).path) for line in lines if line.startswith("-e ")]
    names = {re.split(r"[=\[; ]", line)[0] for line in lines if not line.startswith("-e ")}
    chosen = Path(f"{folder}.lock")
    chosen.parent.mkdir(parents=True, exist_ok=True)
    chosen.write_text(locked(_LOCK.read_text(), names))
    # Relocatable, because it is copied to another place in the image.
    _uv("venv", "--relocatable", folder)
    _uv("pip", "install", "--python", folder, "--require-hashes", "-r", str(chosen), "--compile-bytecode")
    _uv("pip", "install", "--python", folder, "--no-deps", "--compile-bytecode", *ours, f"./{member}")


def _uv(*arguments: str) -> None:
    subprocess.run(["uv", arguments[0], "-q", *arguments[1:]], check=True)  # noqa: S603, S607


if __name__ == "__main__":
    main(*sys.argv[1:])
