"""An earlier backup, whose copies of objects a new one takes over instead of copying them again."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from sluice_backup.manifest import BackupError, ObjectFacts, listed, path_of, read

# The object store's clock and this machine's may differ by so much.
_APART = timedelta(minutes=5)


class Earlier:
    """Gives copies of an earlier backup as hard links; see `earlier`.

    Parameters
    ----------
    folder
        The backup's.
    unchanged
        Objects that were stored before are as it has them.
    index
        What is in it.
    """

    def __init__(self, folder: Path, unchanged: datetime, index: sqlite3.Connection) -> None:
        self._folder = folder
        self._unchanged = unchanged
        self._index = index

    def take(self, key: str, size: int, stored: datetime, path: Path) -> ObjectFacts | None:
        """Link its copy of an object to `path` and give what there is to know of it.

        None: it has none, or the object was stored since, or the two are on different file systems.

        Parameters
        ----------
        size, stored
            How long the object is, and when it was stored.
        """
        found = self._index.execute("SELECT sha256 FROM copies WHERE key = ? AND size = ?", (key, size))
        row = found.fetchone() if stored < self._unchanged else None
        copy = path_of(self._folder, key)
        try:
            if row is None or copy.stat().st_size != size:
                return None
            os.link(copy, path)
        except OSError:
            return None
        return ObjectFacts(key=key, size=size, sha256=row[0])


@contextmanager
def earlier(folder: Path, index: Path) -> Iterator[Earlier]:
    """Open an earlier backup; meanwhile there is a file `index`, so that memory does not grow with it.

    Raises
    ------
    BackupError
        It is no backup, or one without objects.
    """
    made = read(folder)
    if made.objects is None:
        raise BackupError(f"{folder} has no objects that could be taken over")
    try:
        with closing(sqlite3.connect(index)) as connection:
            connection.execute(
                "CREATE TABLE copies (key TEXT PRIMARY KEY, size INT, sha256 TEXT) WITHOUT ROWID"
            )
            connection.executemany(
                "INSERT INTO copies VALUES (?, ?, ?)",
                ((each.key, each.size, each.sha256) for each in listed(folder)),
            )
            connection.commit()
            yield Earlier(folder, made.began_at - _APART, connection)
    finally:
        index.unlink(missing_ok=True)
