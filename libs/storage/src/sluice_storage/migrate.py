"""Bring the database to the newest schema: `sluice-migrate`, run once before the services start.

The migrations are the numbered SQL files beside this module, applied in order under yoyo's lock, each in a
transaction. A file that has been released is never edited: a change is a new file.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer
from yoyo import get_backend, read_migrations

from sluice_settings import UnreadableSettingError, from_file
from sluice_storage.passwords import UnusableAddressError, set_passwords


def migrate(dsn: str) -> list[str]:
    """Apply what is missing and give the names of the migrations applied.

    `dsn` is a `postgresql://` URL of a role that may create roles and schemas.
    """
    backend = get_backend(dsn.replace("postgresql://", "postgresql+psycopg://", 1))
    try:
        with as_file(files("sluice_storage") / "migrations") as folder:
            migrations = read_migrations(str(folder))
            with backend.lock():
                missing = backend.to_apply(migrations)
                backend.apply_migrations(missing)
                return [migration.id for migration in missing]
    finally:
        backend.connection.close()


app = typer.Typer(add_completion=False)


@app.command()
def _command(
    dsn: Annotated[
        str | None,
        typer.Option(
            envvar="SLUICE_POSTGRES",
            help="postgresql:// URL of an administrator; or SLUICE_POSTGRES_FILE",
        ),
    ] = None,
    passwords: Annotated[
        Path | None,
        typer.Option(
            envvar="SLUICE_ROLE_PASSWORDS",
            help="folder with the files postgres_<service> that services read: roles get their passwords",
        ),
    ] = None,
) -> None:
    try:
        address = dsn or from_file("SLUICE_POSTGRES")
    except UnreadableSettingError as error:
        raise typer.BadParameter(str(error)) from None
    if address is None:
        raise typer.BadParameter("SLUICE_POSTGRES is not set")
    applied = migrate(address)
    typer.echo(f"applied: {', '.join(applied)}" if applied else "nothing to apply")
    if passwords is not None:
        try:
            changed = set_passwords(address, passwords)
        except UnusableAddressError as error:
            raise typer.BadParameter(str(error)) from None
        typer.echo(f"passwords set: {', '.join(changed)}")


def main() -> None:
    """Run the command line."""
    app()
