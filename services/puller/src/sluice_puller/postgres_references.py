"""Which references of a job's resources resolve nowhere, found out when all of its files have ended.

Most of what an import refers to it has brought. That is found by comparing marks, and only what is left is
looked up in the store, and what somebody has deleted since it was brought. See ADR 34.
"""

from __future__ import annotations

from uuid import UUID

import asyncpg

from sluice_fhir.fhirpath_model import RESOURCE_TYPES
from sluice_fhir.references import mark_of
from sluice_storage.resources.tables import Connection, table_of

FIRST = 100
"""How many references that resolve nowhere are named."""

_SECONDS = 1800.0
_AT_ONCE = 5000
# Marks are compared in memory where they are some hundred thousand.
_MEMORY = "SET LOCAL work_mem = '32MB'"
_LEFT = """
    CREATE TEMPORARY TABLE left_over ON COMMIT DROP AS
    SELECT DISTINCT m.mark FROM (SELECT unnest(marks) AS mark FROM pulls.mentions WHERE job = '{0}') AS m
    WHERE NOT EXISTS (
        SELECT FROM (SELECT unnest(brought) AS mark FROM pulls.mentions WHERE job = '{0}') AS b
        WHERE b.mark = m.mark
    )
"""
# Whatever deletes what was brought opens its batch afterwards, or begins anew.
_DELETIONS = """
    SELECT t.type, t.first_seq, t.last_seq FROM fhir.batch_types t
    WHERE t.batch > (SELECT min(batch) FROM pulls.mentions WHERE job = $1) AND t.tombstones > 0
"""
_GONE = "CREATE TEMPORARY TABLE gone (mark bigint NOT NULL) ON COMMIT DROP"
_LEFT_GONE = """
    INSERT INTO pg_temp.left_over
    SELECT m.mark FROM (SELECT unnest(marks) AS mark FROM pulls.mentions WHERE job = $1) AS m
    JOIN pg_temp.gone AS g USING (mark)
"""
# Of what a version before this one has noted there are no marks.
_ANY = """
    SELECT EXISTS (SELECT FROM pg_temp.left_over)
        OR EXISTS (SELECT FROM pulls.mentions WHERE job = $1 AND marks IS NULL)
"""
_WANTED = """
    CREATE TEMPORARY TABLE wanted ON COMMIT DROP AS
    SELECT split_part(k.key, '/', 1) COLLATE "C" AS type, split_part(k.key, '/', 2) COLLATE "C" AS id
    FROM (
        SELECT DISTINCT k.key FROM pulls.mentions m
        CROSS JOIN LATERAL unnest(
            string_to_array(convert_from(m.keys, 'UTF8'), E'\\n'), m.marks
        ) AS k (key, mark)
        WHERE m.job = '{}' AND (k.mark IS NULL OR k.mark IN (SELECT mark FROM pg_temp.left_over))
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


async def resolve(pool: asyncpg.Pool, job: str) -> int:
    """Look up what a job's resources refer to, keep what is not there, and give how much that is.

    What was looked up is forgotten; asked again, it gives the same.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_MEMORY)
        await connection.execute(_LEFT.format(UUID(job)), timeout=_SECONDS)
        await _add_deleted(connection, job)
        if await connection.fetchval(_ANY, job):
            await _look_up(connection, job)
        await connection.execute("DELETE FROM pulls.mentions WHERE job = $1", job, timeout=_SECONDS)
        found = await connection.fetchval(
            "SELECT coalesce(sum(total), 0)::bigint FROM pulls.unresolved WHERE job = $1", job
        )
    return int(found)


async def _add_deleted(connection: Connection, job: str) -> None:
    """Have what was deleted since it was brought looked up as well."""
    rows = await connection.fetch(_DELETIONS, job, timeout=_SECONDS)
    if not rows:
        return
    await connection.execute(_GONE)
    for row in rows:
        after = row["first_seq"] - 1
        while found := await _deleted(connection, row["type"], after, row["last_seq"]):
            await connection.copy_records_to_table(
                "gone", schema_name="pg_temp", columns=("mark",), records=[(mark,) for mark, _ in found]
            )
            after = found[-1][1]
    await connection.execute(_LEFT_GONE, job, timeout=_SECONDS)


async def _deleted(connection: Connection, type_: str, after: int, last: int) -> list[tuple[int, int]]:
    """Give the next tombstones that are current: the marks of what they were, and their places."""
    rows = await connection.fetch(
        f"""
        SELECT r.id, r.seq FROM {table_of(type_)} r
        WHERE r.seq > $1 AND r.seq <= $2 AND r.deleted AND r.superseded_by IS NULL ORDER BY r.seq LIMIT $3
        """,  # noqa: S608
        after,
        last,
        _AT_ONCE,
        timeout=_SECONDS,
    )
    return [
        (int.from_bytes(mark_of(f"{type_}/{row['id']}".encode()), signed=True), row["seq"]) for row in rows
    ]


async def _look_up(connection: Connection, job: str) -> None:
    await connection.execute(_WANTED.format(UUID(job)), timeout=_SECONDS)
    rows = await connection.fetch("SELECT DISTINCT type FROM pg_temp.wanted", timeout=_SECONDS)
    left = FIRST
    for type_ in sorted(RESOURCE_TYPES.intersection(row["type"] for row in rows)):
        named = await connection.fetchval(_UNRESOLVED, job, type_, left, timeout=_SECONDS)
        left -= named or 0
