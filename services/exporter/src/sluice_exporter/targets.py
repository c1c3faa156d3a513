"""Which resources Provenance resources are about, found in the resource store in Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg

from sluice_exporter.postgres import Connection, available
from sluice_exporter.provenance import Target
from sluice_exporter.scope import Scope
from sluice_storage.resources.model import Window
from sluice_storage.resources.tables import IN_A_COMPARTMENT, existing, table_of, visible


class PostgresTargets:
    """See `sluice_exporter.provenance.Targets`.

    Resources are found by their current version. Of one that was replaced or deleted since the snapshot was
    taken only that much is known: it was there. It counts: rather a Provenance too many than one too few.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def among(
        self, wanted: set[Target], window: Window, scope: Scope, bodies: frozenset[str]
    ) -> dict[Target, bytes | None]:
        """See `Targets.among`."""
        found: dict[Target, bytes | None] = {}
        with available():
            for type_ in await existing(self._pool, sorted({type_ for type_, _ in wanted})):
                ids = [id_ for of, id_ in wanted if of == type_]
                rows = await self._pool.fetch(
                    _statement(type_, window, scope, body=type_ in bodies),
                    ids,
                    *([] if scope.patients is None else [list(scope.patients)]),
                )
                found.update({(type_, row["id"]): row["body"] for row in rows})
        return found


def _statement(type_: str, window: Window, scope: Scope, *, body: bool) -> str:
    batch = int(window.snapshot.batch)
    conditions = [
        "r.id = ANY($1::text[])",
        "r.superseded_by IS NULL",
        f"(({visible(window)}) OR (r.batch > {batch} AND r.version > 1))",
    ]
    if scope.patients is not None:
        conditions.append(
            "(r.patient = ANY($2::text[]) OR (r.shared AND EXISTS (SELECT FROM fhir.shared s"
            " WHERE s.type = r.type AND s.seq = r.seq AND s.patient = ANY($2::text[]))))"
        )
    elif scope.compartment:
        conditions.append(IN_A_COMPARTMENT)
    return (
        f"SELECT r.id, {'r.body' if body else 'NULL::bytea AS body'}"  # noqa: S608
        f" FROM {table_of(type_)} r WHERE {' AND '.join(conditions)}"
    )


class PostgresRanking:
    """See `sluice_exporter.provenance.Ranking`; it is in tables that the transaction's end takes away."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, rows: Sequence[tuple[str, datetime, str]]) -> None:
        """See `Ranking.add`."""
        await self._connection.copy_records_to_table(
            "told", records=rows, columns=("target", "recorded", "id")
        )

    async def choose(self) -> None:
        """See `Ranking.choose`."""
        await self._connection.execute(
            """
            CREATE TEMPORARY TABLE chosen ON COMMIT DROP AS SELECT DISTINCT id FROM (
                SELECT DISTINCT ON (target) id FROM told ORDER BY target, recorded DESC, id
            ) AS latest
            """
        )
        await self._connection.execute("CREATE INDEX ON chosen (id)")

    async def chosen(self, ids: Sequence[str]) -> set[str]:
        """See `Ranking.chosen`."""
        rows = await self._connection.fetch("SELECT id FROM chosen WHERE id = ANY($1::text[])", list(ids))
        return {row["id"] for row in rows}


@asynccontextmanager
async def open_ranking(pool: asyncpg.Pool) -> AsyncIterator[PostgresRanking]:
    """Open a ranking for one part."""
    with available():
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(
                'CREATE TEMPORARY TABLE told (target text COLLATE "C", recorded timestamptz,'
                ' id text COLLATE "C") ON COMMIT DROP'
            )
            yield PostgresRanking(connection)
