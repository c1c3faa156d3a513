"""Giving the services' roles the passwords with which the services will come.

The migrations make the roles without passwords. Each service has a file with its `postgresql://` URL; from
the same file the role gets its password, so that nothing has to be entered twice, and running it again after
a file has changed rotates the password.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql

_FILES = "postgres_*"
_ROLE_PREFIX = "sluice_"


class UnusableAddressError(ValueError):
    """A file holds no URL of one of our roles with a password; the text names the file, not what is in it."""


def set_passwords(dsn: str, folder: Path) -> list[str]:
    """Set the password of every role that a file `postgres_…` in the folder is of; give the roles.

    A URL of a role that is not ours (an administrator's, say) is left alone.

    Parameters
    ----------
    dsn
        `postgresql://` URL of a role that may alter roles.

    Raises
    ------
    UnusableAddressError
        A file's URL has no password.
    psycopg.Error
        The server refused.
    """
    wanted = [_credentials(path) for path in sorted(folder.glob(_FILES)) if path.is_file()]
    changed = []
    with psycopg.connect(dsn) as connection:
        for role, password in wanted:
            if not role.startswith(_ROLE_PREFIX):
                continue
            # Hashed here: what the server may log of the statement says nothing.
            verifier = connection.pgconn.encrypt_password(
                password.encode(), role.encode(), b"scram-sha-256"
            ).decode()
            statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                sql.Identifier(role), sql.Literal(verifier)
            )
            connection.execute(statement)
            changed.append(role)
    return changed


def _credentials(path: Path) -> tuple[str, str]:
    parts = urlsplit(path.read_text().strip())
    if not parts.username or not parts.password:
        raise UnusableAddressError(f"{path.name} has no URL with a role and its password")
    return unquote(parts.username), unquote(parts.password)
