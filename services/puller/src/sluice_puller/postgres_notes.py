"""What is known of a job's resources beside their content, in Postgres: see the migration of its tables."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import asyncpg

from sluice_fhir.fhirpath_model import RESOURCE_TYPES
from sluice_storage.resources.loader import Noted

FIRST = 100
"""How many references that resolve nowhere are named."""

_SECONDS = 1800.0
# It need not wait for the disk: the file's end comes later in the log, and does. Before it all is redone.
_NOTE = """
    WITH hasty AS (
        SELECT set_config('synchronous_commit', 'off', true)
    ), mentions AS (
        INSERT INTO pulls.mentions (job, keys) SELECT $1, $2 FROM hasty WHERE length($2::bytea) > 0
    )
    INSERT INTO pulls.patients (job, patient)
    SELECT $1, p.patient FROM unnest($3::text[]) AS p (patient) ORDER BY p.patient ON CONFLICT DO NOTHING
"""
_KEPT = "INSERT INTO pulls.kept (job, type, firsts, lasts) VALUES ($1, $2, $3, $4)"
_WANTED = """
    CREATE TEMPORARY TABLE wanted ON COMMIT DROP AS
    SELECT split_part(k.key, '/', 1) COLLATE "C" AS type, split_part(k.key, '/', 2) COLLATE "C" AS id
    FROM (
        SELECT DISTINCT unnest(string_to_array(convert_from(keys, 'UTF8'), E'\\n')) AS key
        FROM pulls.mentions WHERE job = '{}'
    ) AS k
"""
# One look at an index for each id, however large the store is.
_UNRESOLVED = """
    INSERT INTO pulls.unresolved (job, type, total, ids)
    SELECT $1, $2, count(*), coalesce((array_agg(m.id ORDER BY m.id))[1:$3::int], '{}')
    FROM pg_temp.wanted AS m
    WHERE m.type = $2 AND NOT coalesce((
        SELECT s.line IS NOT NULL FROM pulls.staged s
        WHERE s.job = $1 AND s.type = $2 AND s.id = m.id
        ORDER BY coalesce(s.source_updated, 'infinity') DESC, s.n DESC LIMIT 1
    ), (
        SELECT true FROM fhir.resources r
        WHERE r.type = $2 AND r.id = m.id AND r.superseded_by IS NULL AND NOT r.deleted
    ), false)
    HAVING count(*) > 0
    ON CONFLICT DO NOTHING
    RETURNING cardinality(ids)
"""


class Notes:
    """Keeps what is noted of one job's loads; see `sluice_storage.resources.loader.Noting`.

    Parameters
    ----------
    pool
        Connections of the role `sluice_puller`.
    """

    def __init__(self, pool: asyncpg.Pool, job: str) -> None:
        self._pool = pool
        self._job = job

    async def note(self, noted: Noted) -> None:
        """See `Noting.note`."""
        async with self._pool.acquire() as connection:
            await connection.execute(_NOTE, self._job, b"\n".join(noted.references), list(noted.patients))
            for type_, places in noted.kept.items():
                await connection.execute(_KEPT, self._job, type_, *ranges(places))


def ranges(places: Iterable[int]) -> tuple[list[int], list[int]]:
    """Give places as ranges: where each begins and where it ends, both inclusive."""
    firsts: list[int] = []
    lasts: list[int] = []
    for place in sorted(places):
        if lasts and place == lasts[-1] + 1:
            lasts[-1] = place
        else:
            firsts.append(place)
            lasts.append(place)
    return firsts, lasts


async def resolve(pool: asyncpg.Pool, job: str) -> int:
    """Look up what a job's resources refer to, keep what is not there, and give how much that is.

    What was looked up is forgotten; asked again, it gives the same.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_WANTED.format(UUID(job)), timeout=_SECONDS)
        rows = await connection.fetch("SELECT DISTINCT type FROM pg_temp.wanted", timeout=_SECONDS)
        left = FIRST
        for type_ in sorted(RESOURCE_TYPES.intersection(row["type"] for row in rows)):
            named = await connection.fetchval(_UNRESOLVED, job, type_, left, timeout=_SECONDS)
            left -= named or 0
        await connection.execute("DELETE FROM pulls.mentions WHERE job = $1", job, timeout=_SECONDS)
        found = await connection.fetchval(
            "SELECT coalesce(sum(total), 0)::bigint FROM pulls.unresolved WHERE job = $1", job
        )
    return int(found)
