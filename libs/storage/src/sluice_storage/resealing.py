"""Sealing anew what is sealed under an older secret: `sluice-reseal`, run while services know both.

`SLUICE_SECRET` (or the file that `SLUICE_SECRET_FILE` names) has the new secret first. Afterwards nothing in
the database needs the others any more. Services may go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
import typer
from psycopg import sql
from pydantic import Field, ValidationError

from sluice_security.sealing import Seal, SealBrokenError
from sluice_security.settings import SecretSettings
from sluice_settings import explain


@dataclass(frozen=True, slots=True)
class Sealed:
    """Where sealed values are: a table, the column by whose value each is bound to its row, and for what."""

    schema: str
    table: str
    name: str
    column: str
    purpose: str


SEALED = (
    Sealed("sources", "sources", "id", "auth_sealed", "source credentials"),
    Sealed("auth", "signing_keys", "kid", "sealed", "token signing keys"),
    Sealed("webhooks", "endpoints", "id", "secret", "webhooks"),
    Sealed("webhooks", "endpoints", "id", "previous", "webhooks"),
)
"""Everything in the database that is sealed under the services' secret."""


class Settings(SecretSettings):
    """What the command is told.

    Parameters
    ----------
    postgres
        `postgresql://` URL of an administrator.
    """

    postgres: str = Field(min_length=1)


def reseal(dsn: str, secrets: Sequence[bytes]) -> dict[str, int]:
    """Seal everything under the first of these secrets; give how many values that changed, by column.

    Raises
    ------
    SealBrokenError
        Something is sealed under none of them; nothing was changed.
    """
    changed = {}
    with psycopg.connect(dsn) as connection:
        for each in SEALED:
            changed[f"{each.schema}.{each.table}.{each.column}"] = _reseal(connection, each, tuple(secrets))
    return changed


def _reseal(connection: psycopg.Connection, each: Sealed, secrets: tuple[bytes, ...]) -> int:
    newest, known = Seal(secrets[0], each.purpose), Seal(secrets, each.purpose)
    names = {
        "table": sql.Identifier(each.schema, each.table),
        "name": sql.Identifier(each.name),
        "column": sql.Identifier(each.column),
    }
    found = "SELECT {name}, {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY {name} FOR UPDATE"
    rows = connection.execute(sql.SQL(found).format(**names)).fetchall()
    count = 0
    for name, sealed in rows:
        try:
            newest.open(sealed, name)
        except SealBrokenError:
            again = newest.close(known.open(sealed, name), name)
            connection.execute(
                sql.SQL("UPDATE {table} SET {column} = %s WHERE {name} = %s").format(**names), [again, name]
            )
            count += 1
    return count


def _command() -> None:
    """Seal everything under the newest secret."""
    try:
        settings = Settings()
        changed = reseal(settings.postgres, settings.secrets)
    except ValidationError as error:
        raise typer.BadParameter(explain(error)) from None
    except SealBrokenError:
        typer.echo("something is sealed under none of these secrets; nothing was changed", err=True)
        raise typer.Exit(1) from None
    except psycopg.OperationalError as error:
        typer.echo(f"Postgres: {str(error).strip().splitlines()[-1]}", err=True)
        raise typer.Exit(1) from None
    for table, count in changed.items():
        typer.echo(f"{table}: {count}")


def main() -> None:
    """Run the command line."""
    typer.run(_command)
