"""Bring the database to the newest schema: `sluice-migrate`, run once before the services start.

The migrations are the numbered SQL files beside this module, applied in order under yoyo's lock, each in a
transaction. A file that has been released is never edited: a change is a new file.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, urlencode

import typer
from psycopg import OperationalError
from psycopg.errors import LockNotAvailable
from yoyo import get_backend, read_migrations

from sluice_storage.passwords import UnusableAddressError, set_passwords
from sluice_storage.postgres_option import postgres_option

# A change of a table waits for whoever reads it, and meanwhile everyone else waits for the change: so it
# gives up soon, lets the others pass, and tries again.
_LOCK_SECONDS = 2.0
_TRIES = 60
_PAUSE = 1.0


def migrate(dsn: str, folder: Path | None = None, lock: float = _LOCK_SECONDS) -> list[str]:
    """Apply what is missing and give the names of the migrations applied. Services may go on meanwhile.

    Parameters
    ----------
    dsn
        `postgresql://` URL of a role that may create roles and schemas.
    folder
        Where the migrations are, if not beside this module.
    lock
        Seconds to wait for a table that is in use before others are let pass.

    Raises
    ------
    psycopg.errors.LockNotAvailable
        A table was in use at each of many tries: something holds a transaction open.
    """
    if folder is None:
        with as_file(files("sluice_storage") / "migrations") as ours:
            return migrate(dsn, ours, lock)
    address = dsn.replace("postgresql://", "postgresql+psycopg://", 1)
    options = urlencode({"options": f"-c lock_timeout={round(lock * 1000)}"}, quote_via=quote)
    backend = get_backend(f"{address}{'&' if '?' in address else '?'}{options}")
    try:
        migrations = read_migrations(str(folder))
        with backend.lock():
            missing = backend.to_apply(migrations)
            for migration in missing:
                _apply(backend, migration)
            return [migration.id for migration in missing]
    finally:
        backend.connection.close()


def _apply(backend: Any, migration: Any) -> None:
    for rest in range(_TRIES, -1, -1):
        try:
            backend.apply_one(migration)
        except LockNotAvailable:
            if not rest:
                raise
            time.sleep(_PAUSE)
        else:
            return


def packaged() -> list[str]:
    """Name the migrations of this version, in their order."""
    with as_file(files("sluice_storage") / "migrations") as folder:
        return [migration.id for migration in read_migrations(str(folder))]


Result = TypeVar("Result")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def _command(
    dsn: Annotated[str, postgres_option("an administrator", "--dsn")] = "",
    passwords: Annotated[
        Path | None,
        typer.Option(
            envvar="SLUICE_ROLE_PASSWORDS",
            help="folder with the files postgres_<service> that services read: roles get their passwords",
        ),
    ] = None,
    wait: Annotated[
        float,
        typer.Option(envvar="SLUICE_POSTGRES_WAIT", min=0, help="seconds to wait for Postgres to answer"),
    ] = 60.0,
) -> None:
    applied = _when_it_answers(lambda: migrate(dsn), wait)
    typer.echo(f"applied: {', '.join(applied)}" if applied else "nothing to apply")
    if passwords is not None:
        try:
            changed = _when_it_answers(lambda: set_passwords(dsn, passwords), wait)
        except UnusableAddressError as error:
            raise typer.BadParameter(str(error)) from None
        typer.echo(f"passwords set: {', '.join(changed)}")


def _when_it_answers(step: Callable[[], Result], wait: float) -> Result:
    """Do a step that may be done again, waiting for a server that starts or whose name is not known yet."""
    deadline = time.monotonic() + wait
    while True:
        try:
            return step()
        except OperationalError as error:
            if isinstance(error, LockNotAvailable):
                typer.echo(
                    "a table stays in use: end the transaction that holds it, then run this again", err=True
                )
                raise typer.Exit(1) from None
            if time.monotonic() > deadline:
                typer.echo(f"Postgres does not answer: {error}", err=True)
                raise typer.Exit(1) from None
            time.sleep(_PAUSE)


def main() -> None:
    """Run the command line."""
    app()
