"""`sluice status rebuild`: the status tables of a stack, built anew from the log and compared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from sluice_stack.home import Home
from sluice_stack.postgres import Postgres
from sluice_stack.stack import DATABASE
from sluice_stack.up import HomeFolder

status = typer.Typer(help="The tables of jobs (operators).", no_args_is_help=True)


@status.callback()
def _status() -> None:
    """Keep `rebuild` a command of its own, though it is the only one."""


@status.command("rebuild")
def rebuild(
    home: HomeFolder = Path(".sluice"),
    apply: Annotated[bool, typer.Option("--apply", help="repair the jobs that differ")] = False,
) -> None:
    """Build the status tables anew from the log, say what differs, and repair it with --apply."""
    running = Home(home).running()
    if running is None:
        raise typer.BadParameter(f"no stack runs in {home}; elsewhere run python -m sluice_status.rebuild")
    environment = {
        **os.environ,
        "SLUICE_KAFKA": running.kafka,
        "SLUICE_POSTGRES": Postgres(Home(home).folder / "postgres").dsn("sluice_status", DATABASE),
    }
    command = [sys.executable, "-m", "sluice_status.rebuild", *(["--apply"] if apply else [])]
    done = subprocess.run(command, env=environment, check=False)  # noqa: S603 - our own command
    raise typer.Exit(done.returncode)
