"""The command `sluice` in a process of its own, forked from one that has it imported already."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sluice_stack.processes import Process, wait_until
from support.cli_warm import ask
from support.scratch import scratch_folder


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
        """Start a command in a process of its own and leave it running."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from sluice_client.cli.entry import main; main()",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._variables(environment),
            cwd=self.folder,
        )

    async def __call__(self, *arguments: str, stdin: bytes = b"", **environment: str) -> Done:
        """Run a command to its end."""
        told = await asyncio.to_thread(
            ask, warm(), arguments, self._variables(environment), self.folder, stdin
        )
        code, out, err = told
        return Done(code, out.decode(), err.decode())

    def _variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
        variables |= {"SLUICE_CONFIG": str(self.config), "COLUMNS": "200"}
        return variables | {**self.environment, **environment}


@cache
def warm() -> Path:
    """Give the socket of the process that commands are forked from; it ends with this one."""
    cleanup = ExitStack()
    atexit.register(cleanup.close)
    folder = cleanup.enter_context(scratch_folder())
    address = folder / "socket"
    command = [sys.executable, "-m", "support.cli_warm", str(address)]
    tests = str(Path(__file__).parents[1])
    process = Process("sluice", command, folder / "log", environment={**os.environ, "PYTHONPATH": tests})
    process.start()
    cleanup.callback(process.kill)
    wait_until(address.exists, process, 120)
    return address
