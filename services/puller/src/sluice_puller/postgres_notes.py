"""What is known of a job's resources beside their content, in Postgres: see the migration of its tables."""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg

from sluice_storage.resources.loader import Noted

FIRST = 100
"""How many references that resolve nowhere are named."""

_SECONDS = 1800.0
_MENTIONS = """
    INSERT INTO pulls.mentions (job, type, ids)
    SELECT $1, m.type, array_agg(m.id) FROM unnest($2::text[], $3::text[]) AS m (type, id) GROUP BY m.type
"""
# In one order, so that two loads never wait for each other in a circle.
_PATIENTS = """
    INSERT INTO pulls.patients (job, patient)
    SELECT $1, p.patient FROM unnest($2::text[]) AS p (patient) ORDER BY p.patient ON CONFLICT DO NOTHING
"""
_KEPT = "INSERT INTO pulls.kept (job, type, firsts, lasts) VALUES ($1, $2, $3, $4)"
# One look at an index for each id, however large the store is.
_UNRESOLVED = """
    INSERT INTO pulls.unresolved (job, type, total, ids)
    SELECT $1, $2, count(*), coalesce((array_agg(m.id ORDER BY m.id))[1:$3::int], '{}')
    FROM (SELECT DISTINCT unnest(ids) AS id FROM pulls.mentions WHERE job = $1 AND type = $2) AS m
    WHERE NOT coalesce((
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
        async with self._pool.acquire() as connection, connection.transaction():
            if noted.references:
                types, ids = zip(*noted.references, strict=True)
                await connection.execute(_MENTIONS, self._job, types, ids)
            if noted.patients:
                await connection.execute(_PATIENTS, self._job, list(noted.patients))
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
        types = await connection.fetch(
            "SELECT DISTINCT type FROM pulls.mentions WHERE job = $1 ORDER BY type", job, timeout=_SECONDS
        )
        left = FIRST
        for row in types:
            named = await connection.fetchval(_UNRESOLVED, job, row["type"], left, timeout=_SECONDS)
            left -= named or 0
        await connection.execute("DELETE FROM pulls.mentions WHERE job = $1", job, timeout=_SECONDS)
        found = await connection.fetchval(
            "SELECT coalesce(sum(total), 0)::bigint FROM pulls.unresolved WHERE job = $1", job
        )
    return int(found)
