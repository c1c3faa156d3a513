"""The command `sluice` in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """Runs `sluice` in `folder`, with the test's own configuration; `environment` is for all commands."""

    def __init__(
        self, folder: Path, config: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self.environment = environment or {}
        self.config = config or folder / "config.json"
        self.folder = folder

    async def start(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        """Start a command and leave it running."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
        variables |= {"SLUICE_CONFIG": str(self.config), "COLUMNS": "200"}
        variables |= {**self.environment, **environment}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from sluice_client.cli.entry import main; main()",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=variables,
            cwd=self.folder,
        )

    async def __call__(self, *arguments: str, stdin: bytes = b"", **environment: str) -> Done:
        process = await self.start(*arguments, **environment)
        out, err = await process.communicate(stdin)
        return Done(process.returncode or 0, out.decode(), err.decode())
