"""Files of npm packages that tests need, pinned by hash and kept in the user's cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from platformdirs import user_cache_path


def npm_file(package: str, sha512: str, path: str) -> bytes:
    """Give a file of `package` (`name@version`) whose archive has this hash; skip where there is no npm."""
    archive = user_cache_path("sluice") / "npm" / f"{sha512[:32]}.tgz"
    if not archive.exists():
        if (npm := shutil.which("npm")) is None:
            pytest.skip(f"needs npm, to fetch {package}")
        archive.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=archive.parent) as folder:
            subprocess.run([npm, "pack", "--silent", package], cwd=folder, check=True, timeout=120)
            (packed,) = Path(folder).glob("*.tgz")
            packed.rename(archive)
    if hashlib.sha512(archive.read_bytes()).hexdigest() != sha512:
        archive.unlink()
        raise ValueError(f"{package} is not what it was")
    with tarfile.open(archive) as packed_files:
        found = packed_files.extractfile(f"package/{path}")
        assert found is not None
        return found.read()
