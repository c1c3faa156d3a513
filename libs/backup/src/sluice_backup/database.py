"""The database: dumped as it is at one moment, and made anew from that."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from sluice_backup.manifest import BackupError, Role
from sluice_backup.programs import program
from sluice_storage.objects import name_of, plain_name
from sluice_storage.removals import HOLD

Connection = psycopg.Connection[Any]

_AT_ONCE = 10_000
_ROLES = r"""
SELECT r.rolname, r.rolcanlogin, ARRAY(
    SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
    WHERE m.member = r.oid AND g.rolname LIKE 'sluice\_%' ORDER BY 1
) FROM pg_roles r WHERE r.rolname LIKE 'sluice\_%' ORDER BY 1
"""
_OURS = "nspname NOT IN ('pg_catalog', 'information_schema') AND nspname NOT LIKE 'pg\\_%'"
_TABLES = f"""
SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE relkind IN ('r', 'p') AND {_OURS}
"""  # noqa: S608 - built of constants
_SCHEMAS = f"SELECT nspname FROM pg_namespace WHERE {_OURS} AND nspname <> 'public'"  # noqa: S608
_CONNECTED = """
SELECT DISTINCT application_name FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'sluice-%' ORDER BY 1
"""
_NEEDED: tuple[tuple[LiteralString, Callable[[Any], str]], ...] = (
    ("SELECT object FROM files.blobs WHERE object IS NOT NULL AND removed_at IS NULL", name_of),
    ("SELECT sha256 FROM files.blobs WHERE object IS NULL AND removed_at IS NULL", plain_name),
    ("SELECT key FROM exports.files JOIN exports.jobs USING (job) WHERE deleted_at IS NULL", str),
)


@contextmanager
def connected(dsn: str) -> Iterator[Connection]:
    """Give an administrator's connection to the database, outside of any transaction.

    Raises
    ------
    BackupError
        The database does not answer, or does not let us in.
    """
    try:
        connection = psycopg.connect(dsn, autocommit=True, application_name="backup of sluice")
    except psycopg.OperationalError as error:
        raise BackupError(f"Postgres: {str(error).strip().splitlines()[-1]}") from None
    with connection:
        yield connection


def hold(connection: Connection) -> None:
    """Have no objects removed by anyone until the connection is closed.

    Raises
    ------
    BackupError
        Another backup is under way.
    """
    connection.execute("SET lock_timeout = '60s'")
    try:
        connection.execute(HOLD)
    except psycopg.errors.LockNotAvailable:
        raise BackupError("another backup of this database is under way") from None


def roles(connection: Connection) -> tuple[Role, ...]:
    """Give our roles."""
    rows = connection.execute(_ROLES).fetchall()
    return tuple(Role(name=name, login=login, member_of=tuple(groups)) for name, login, groups in rows)


def migrations(connection: Connection) -> tuple[str, ...]:
    """Give the database's migrations, in their order.

    Raises
    ------
    BackupError
        It is no database of Sluice's.
    """
    try:
        rows = connection.execute("SELECT migration_id FROM _yoyo_migration ORDER BY 1").fetchall()
    except psycopg.errors.UndefinedTable:
        raise BackupError("this is no database of Sluice's: it has no migrations") from None
    return tuple(row[0] for row in rows)


def dump(dsn: str, to: Path, needed: Path) -> None:
    """Dump the database, and write down the objects that the rows of that very moment refer to.

    Raises
    ------
    BackupError
        It cannot be dumped.
    """
    with connected(dsn) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        assert row is not None  # noqa: S101 - a function without FROM gives one row
        _run(connection, "pg_dump", "--format=custom", f"--snapshot={row[0]}", f"--file={to}")
        with needed.open("wb") as file:
            for statement, name in _NEEDED:
                with connection.cursor("needed") as cursor:
                    cursor.itersize = _AT_ONCE
                    cursor.execute(statement)
                    for (value,) in cursor:
                        file.write(msgspec.json.encode(name(value)) + b"\n")
        connection.execute("ROLLBACK")


def services(connection: Connection) -> list[str]:
    """Name the services that are connected."""
    return [row[0] for row in connection.execute(_CONNECTED).fetchall()]


def empty(connection: Connection) -> bool:
    """Say whether the database has no table."""
    return connection.execute(f"{_TABLES} LIMIT 1").fetchone() is None


def clear(connection: Connection) -> None:
    """Remove everything in the database."""
    with connection.transaction():
        for (schema,) in connection.execute(_SCHEMAS).fetchall():
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
        for schema, table in connection.execute(_TABLES).fetchall():
            connection.execute(sql.SQL("DROP TABLE {} CASCADE").format(sql.Identifier(schema, table)))


def restore(dsn: str, dumped: Path, wanted: Sequence[Role]) -> None:
    """Make an empty database what it was when it was dumped, all of it or nothing.

    Raises
    ------
    BackupError
        It cannot be restored.
    """
    with connected(dsn) as connection:
        _make(connection, wanted)
        _run(connection, "pg_restore", "--single-transaction", "--exit-on-error", str(dumped), to="--dbname")


def _make(connection: Connection, wanted: Sequence[Role]) -> None:
    there = {role.name for role in roles(connection)}
    for role in wanted:
        if role.name not in there:
            words = "CREATE ROLE {} LOGIN" if role.login else "CREATE ROLE {} NOLOGIN"
            connection.execute(sql.SQL(words).format(sql.Identifier(role.name)))
    for role in wanted:
        for group in role.member_of:
            names = (sql.Identifier(group), sql.Identifier(role.name))
            connection.execute(sql.SQL("GRANT {} TO {}").format(*names))


def forget_log(connection: Connection, accepted: Iterable[str]) -> None:
    """Forget the places in a log that is not there any more, and keys whose jobs went with it.

    Parameters
    ----------
    accepted
        Jobs whose starts are published again.
    """
    with connection.transaction():
        connection.execute("DELETE FROM status.offsets")
        connection.execute("DELETE FROM status.dead")
        connection.execute("DELETE FROM webhooks.offsets")
        # Its client's repeat makes the job that is in no row and on no log.
        connection.execute(
            "DELETE FROM gateway.idempotency WHERE job <> ALL(%s::uuid[])"
            " AND NOT EXISTS (SELECT FROM documents.jobs j WHERE j.job = idempotency.job)"
            " AND NOT EXISTS (SELECT FROM exports.jobs j WHERE j.job = idempotency.job)"
            " AND NOT EXISTS (SELECT FROM pulls.jobs j WHERE j.job = idempotency.job)",
            [list(accepted)],
        )


def _run(connection: Connection, name: str, *arguments: str, to: str = "--dbname") -> None:
    parameters = connection.info.get_parameters()
    for ours in ("application_name", "client_encoding"):
        parameters.pop(ours, None)
    # The password goes by the environment: everyone on the machine sees a command's arguments.
    environment = {**os.environ, "PGPASSWORD": connection.info.password}
    path = program(name, connection.info.server_version // 10_000)
    command = [path, "--no-password", *arguments, f"{to}={make_conninfo('', **parameters)}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "error" in line.lower()] or ["no reason given"]
        raise BackupError(f"{name}: {said[0]}")
