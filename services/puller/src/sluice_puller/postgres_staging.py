"""Imports that are wanted whole: their resources wait in `pulls.staged` until all are there and sound."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import datetime

import asyncpg
import msgspec

from sluice_fhir.ndjson_resource import Resource, parse
from sluice_puller.postgres_notes import ranges
from sluice_storage.resources.loader import CHUNK_BYTES
from sluice_storage.resources.tables import Connection
from sluice_storage.resources.whole import Aside
from sluice_storage.resources.writer import Incoming, Key, Written

_SECONDS = 3600.0
_ROWS = 4000
# What is overwritten by the store when it is stored.
_NEVER = b"1970-01-01T00:00:00.000Z"
# Of two of the same resource the newer one by its source's time stays, else the one that came last. What
# another attempt at the same file has taken is not counted.
_OLDER = """
    WITH gone AS (
        DELETE FROM pulls.staged s USING pulls.staged o
        WHERE s.job = $1 AND o.job = $1 AND o.type = s.type AND o.id = s.id
            AND (coalesce(o.source_updated, 'infinity'), o.n) > (coalesce(s.source_updated, 'infinity'), s.n)
        RETURNING s.item, s.line IS NOT NULL AND (s.item, s.line) IS DISTINCT FROM (o.item, o.line) AS stale
    )
    SELECT item, count(*) AS stale FROM gone WHERE stale GROUP BY item
"""


class Staging:
    """Takes one file's resources aside; see `sluice_storage.resources.loader.ResourceWriter`.

    What another attempt has taken stays: somebody may still be at it, and of the same resource one is kept.

    Parameters
    ----------
    pool
        Connections of the role `sluice_puller`.
    """

    def __init__(self, pool: asyncpg.Pool, job: str, item: int) -> None:
        self._pool = pool
        self._job = job
        self._item = item

    async def write(self, resources: Iterable[Incoming]) -> Written:
        """Take resources; what becomes of them is decided later."""
        await self._copy(
            (each.type, each.id, each.source_updated, each.body(0, _NEVER)) for each in resources
        )
        return Written()

    async def delete(self, keys: Iterable[Key]) -> int:
        """Take note of what is to be deleted; how much of it there is is found out later."""
        await self._copy((type_, id_, None, None) for type_, id_ in keys)
        return 0

    async def _copy(self, rows: Iterable[tuple[str, str, datetime | None, bytes | None]]) -> None:
        async with self._pool.acquire() as connection:
            await connection.copy_records_to_table(
                "staged",
                schema_name="pulls",
                columns=("job", "item", "type", "id", "source_updated", "line"),
                records=[(self._job, self._item, *row) for row in rows],
                timeout=_SECONDS,
            )


class Staged:
    """What a job has taken aside; see `sluice_storage.resources.whole.Taken`.

    Parameters
    ----------
    base
        The source's base URL.
    """

    def __init__(self, job: str, base: str | None) -> None:
        self._job = job
        self._base = None if base is None else base.rstrip("/")
        self.stale: dict[int, int] = {}

    async def count(self, connection: Connection) -> int:
        """See `Taken.count`."""
        for row in await connection.fetch(_OLDER, self._job, timeout=_SECONDS):
            self.stale[row["item"]] = self.stale.get(row["item"], 0) + row["stale"]
        found = await connection.fetchval("SELECT count(*) FROM pulls.staged WHERE job = $1", self._job)
        return int(found)

    async def read(self, connection: Connection) -> AsyncGenerator[Aside]:
        """See `Taken.read`."""
        after = ("", "")
        while True:
            rows = await connection.fetch(
                """
                SELECT n, type, id, coalesce(length(line), 0) AS size FROM pulls.staged
                WHERE job = $1 AND (type, id) > ($2, $3) ORDER BY type, id LIMIT $4
                """,
                self._job,
                *after,
                _ROWS,
            )
            if not rows:
                return
            some = _together(rows)
            after = (some[-1]["type"], some[-1]["id"])
            yield await self._some(connection, some)

    async def _some(self, connection: Connection, rows: Sequence[asyncpg.Record]) -> Aside:
        found = await connection.fetch(
            "SELECT item, id, source_updated, line FROM pulls.staged"
            " WHERE job = $1 AND n = ANY($2::bigint[])",
            self._job,
            [row["n"] for row in rows],
        )
        resources: dict[int, list[Incoming]] = {}
        for row in found:
            if row["line"] is not None:
                resources.setdefault(row["item"], []).append(self._read(row["line"], row["source_updated"]))
        deletions: dict[int, list[str]] = {}
        for row in found:
            if row["line"] is None:
                deletions.setdefault(row["item"], []).append(row["id"])
        return Aside(rows[0]["type"], resources, deletions)

    def _read(self, line: bytes, updated: datetime | None) -> Resource:
        return msgspec.structs.replace(parse(line, base=self._base), source_updated=updated)


def _together(rows: Sequence[asyncpg.Record]) -> list[asyncpg.Record]:
    """Give the first rows that are of one type and not too large together; one at least."""
    size = 0
    found: list[asyncpg.Record] = []
    for row in rows:
        size += row["size"]
        if found and (row["type"] != found[0]["type"] or size > CHUNK_BYTES):
            break
        found.append(row)
    return found


async def keep_counts(
    connection: Connection, job: str, done: dict[int, Written], stale: dict[int, int]
) -> None:
    """Keep what became of each file's resources, and which of them were there before; forget the rest."""
    for item in sorted(done.keys() | stale.keys()):
        written = done.get(item, Written())
        await connection.execute(
            "UPDATE pulls.files SET created = $3, updated = $4, unchanged = $5, stale = $6, deleted = $7"
            " WHERE job = $1 AND item = $2",
            job,
            item,
            written.created,
            written.updated,
            written.unchanged,
            written.stale + stale.get(item, 0),
            written.deleted,
        )
        for type_, places in written.kept.items():
            await connection.execute(
                "INSERT INTO pulls.kept (job, type, firsts, lasts) VALUES ($1, $2, $3, $4)",
                job,
                type_,
                *ranges(places),
            )
    await connection.execute("DELETE FROM pulls.staged WHERE job = $1", job, timeout=_SECONDS)
