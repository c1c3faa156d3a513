"""`sluice backup`, `sluice restore`, `sluice resume`: of the stack on this machine."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from sluice_backup import making, restoring
from sluice_backup.__main__ import After, Folder, one_line, told
from sluice_backup.manifest import BackupError, opened
from sluice_backup.settings import Settings
from sluice_contracts.words import counted
from sluice_stack.home import Home
from sluice_stack.jars import JarError
from sluice_stack.kafka import Kafka
from sluice_stack.postgres import Postgres
from sluice_stack.processes import StackError
from sluice_stack.stack import DATABASE, create_database
from sluice_stack.up import HomeFolder, say

_FOLDERS = ("postgres", "kafka", "objects")


def settings_of(home: Home, kafka: str) -> Settings:
    """Say where a stack's stores are."""
    return Settings(
        postgres=Postgres(home.folder / "postgres").dsn(database=DATABASE),
        kafka=kafka,
        objects=home.objects.as_uri(),
        secret=home.secrets().secret,
    )


def backup(folder: Folder, home: HomeFolder = Path(".sluice"), after: After = None) -> None:
    """Back up the stack that runs on this machine, without its secrets (operators)."""
    with one_line():
        typer.echo(told(making.make(folder, settings_of(Home(home), _kafka(home)), say, after=after)))


def resume(home: HomeFolder = Path(".sluice")) -> None:
    """Have jobs go on whose commands Kafka has lost, from their rows (operators)."""
    with one_line():
        commands = restoring.resume(settings_of(Home(home), _kafka(home)))
        typer.echo(f"published {counted(commands, 'command')}")


def restore(
    folder: Folder,
    home: HomeFolder = Path(".sluice"),
    replace: Annotated[bool, typer.Option("--replace", help="remove the data that are there")] = False,
) -> None:
    """Restore a backup as the data of the stack on this machine, which must not run (operators)."""
    with one_line():
        try:
            restore_into(Home(home), folder, replace=replace)
        except (StackError, JarError) as error:
            raise BackupError(str(error)) from None
        typer.echo("restored: jobs that were under way go on when the stack is started")


def restore_into(home: Home, folder: Path, *, replace: bool = False) -> None:
    """Make a stack's data those of a backup, and its Kafka a new one; the stack's secrets stay.

    Raises
    ------
    BackupError
        The backup is not whole, or something is in the way.
    StackError
        The stack runs, or Kafka or Postgres do not.
    """
    manifest = opened(folder)
    with home, ExitStack() as cleanup:
        if not home.secrets_file.exists():
            raise BackupError(f"put the secrets of the stack that was backed up to {home.secrets_file} first")
        kafka = Kafka(home.folder / "kafka")
        settings = settings_of(home, kafka.bootstrap)
        restoring.fits(manifest, settings)
        for name in _FOLDERS:
            left = home.folder / name
            if left.exists() and any(left.iterdir()) and not replace:
                raise BackupError(f"{left} is not empty: --replace removes the data that are there")
        for name in _FOLDERS:
            shutil.rmtree(home.folder / name, ignore_errors=True)
        home.protect()
        postgres = Postgres(home.folder / "postgres")
        cleanup.callback(kafka.stop)
        cleanup.callback(postgres.stop)
        kafka.launch()
        postgres.launch()
        postgres.wait()
        create_database(postgres)
        kafka.wait()
        restoring.restore(folder, manifest, settings, say)


def _kafka(home: Path) -> str:
    running = Home(home).running()
    if running is None:
        raise BackupError(f"no stack runs in {home}: start it")
    return running.kafka
