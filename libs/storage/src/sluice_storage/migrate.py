"""Bring the database to the newest schema: `sluice-migrate`, run once before the services start.

The migrations are the numbered SQL files beside this module, applied in order under yoyo's lock, each in a
transaction. A file that has been released is never edited: a change is a new file.
"""

from __future__ import annotations

from importlib.resources import as_file, files

import typer
from yoyo import get_backend, read_migrations


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


def _command(
    dsn: str = typer.Option(..., envvar="SLUICE_POSTGRES", help="postgresql:// URL of an administrator"),
) -> None:
    applied = migrate(dsn)
    typer.echo(f"applied: {', '.join(applied)}" if applied else "nothing to apply")


def main() -> None:
    """Run the command line."""
    typer.run(_command)
