"""Upkeep: versions that nothing reads any more are removed."""

from __future__ import annotations

import asyncpg

from sluice_storage.resources.model import Snapshot
from sluice_storage.resources.tables import table_of

_AT_ONCE = 5000


Connection = asyncpg.Pool | asyncpg.pool.PoolConnectionProxy


async def prune(connection: Connection, oldest: Snapshot) -> int:
    """Remove versions that were replaced before `oldest`, the oldest snapshot that is still read; count them.

    What is in that snapshot, or in a later one, stays. Tombstones stay, for exports of changes.

    Parameters
    ----------
    connection
        One, or a pool, of a role that owns the schema `fhir`.
    """
    removed = 0
    for row in await connection.fetch("SELECT DISTINCT type FROM fhir.batch_types ORDER BY type"):
        table = table_of(row["type"])
        while True:
            # A few at a time, so that no lock is held for long.
            seqs = await connection.fetchval(
                f"""
                WITH old AS (
                    SELECT r.seq FROM {table} r WHERE r.superseded_by <= $1 LIMIT {_AT_ONCE}
                ), gone AS (
                    DELETE FROM {table} r USING old WHERE r.seq = old.seq AND r.superseded_by <= $1
                    RETURNING r.seq
                ), shared AS (
                    DELETE FROM fhir.shared s USING gone WHERE s.type = $2 AND s.seq = gone.seq
                )
                SELECT count(*) FROM gone
                """,  # noqa: S608
                oldest.batch,
                row["type"],
            )
            removed += seqs
            if seqs < _AT_ONCE:
                break
    return removed
