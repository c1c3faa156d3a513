"""The demo runs end to end against a stack: it imports, pulls and exports, and says what came of it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from sluice_stack.stack import Stack


async def test_the_demo_imports_pulls_and_exports_and_tells_what_came_of_it(
    stack: Stack, tmp_path: Path
) -> None:
    secrets = stack.layout.home.secrets()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sluice_stack.demo", "--home", str(tmp_path), "--documents", "12"),
        *("--at", stack.addresses.gateway, "--auth", stack.addresses.auth),
        *("--source", stack.layout.source_url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            **os.environ,
            "SLUICE_BOOTSTRAP_OPERATOR": f"{secrets.operator_id}:{secrets.operator_secret}",
            "COLUMNS": "120",
        },
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    # Some of its documents are faulty on purpose, and the table says so.
    assert "attached" in said
    assert "failed" in said
    exported = list((tmp_path / "exports" / "demo").rglob("*.ndjson"))
    types = {msgspec.json.decode(path.read_bytes().splitlines()[0])["resourceType"] for path in exported}
    assert {"Patient", "DocumentReference"} <= types
