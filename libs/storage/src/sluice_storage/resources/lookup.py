"""Looking at single resources: read by id, search by id, lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import asyncpg

from sluice_storage.resources.model import Page, Stored

_COLUMNS = """
    r.type, r.id, r.seq, r.version, r.updated, r.deleted, r.body, r.patient,
    CASE WHEN r.shared THEN ARRAY(SELECT s.patient FROM fhir.shared s WHERE s.type = r.type AND s.seq = r.seq)
    END AS patients
"""


class Lookup:
    """Resources as they are now.

    Parameters
    ----------
    pool
        Connections of a role that may read the schema `fhir`.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def read(self, type_: str, id_: str) -> Stored | None:
        """Give the resource, None if there never was one; one that was deleted says so."""
        return (await self.read_many(type_, [id_])).get(id_)

    async def read_many(self, type_: str, ids: Sequence[str]) -> dict[str, Stored]:
        """Give those of the resources that there are, or that were deleted, by id."""
        rows = await self._pool.fetch(
            f"""
            SELECT {_COLUMNS} FROM fhir.resources r
            WHERE r.type = $1 AND r.id = ANY($2::text[]) AND r.superseded_by IS NULL
            """,  # noqa: S608
            type_,
            list(ids),
        )
        return {stored.id: stored for stored in map(_stored, rows)}

    async def page(
        self, type_: str, *, after: int = 0, limit: int = 50, patients: Sequence[str] | None = None
    ) -> Page:
        """Give some resources of the type that are not deleted; with `patients` those of their compartments.

        Parameters
        ----------
        after
            Where the page starts: 0, or the `next` of the page before.
        """
        condition = (
            ""
            if patients is None
            else """
            AND (r.patient = ANY($4::text[]) OR (r.shared AND EXISTS (SELECT FROM fhir.shared s
                WHERE s.type = r.type AND s.seq = r.seq AND s.patient = ANY($4::text[]))))
            """
        )
        rows = await self._pool.fetch(
            f"""
            SELECT {_COLUMNS} FROM fhir.resources r
            WHERE r.type = $1 AND r.seq > $2 AND r.superseded_by IS NULL AND NOT r.deleted {condition}
            ORDER BY r.seq LIMIT $3
            """,  # noqa: S608
            type_,
            after,
            limit + 1,
            *([] if patients is None else [list(patients)]),
        )
        return Page(_all_stored(rows[:limit]), rows[limit - 1]["seq"] if len(rows) > limit else None)


def _all_stored(rows: Iterable[asyncpg.Record]) -> tuple[Stored, ...]:
    return tuple(map(_stored, rows))


def _stored(row: asyncpg.Record) -> Stored:
    return Stored(
        type=row["type"],
        id=row["id"],
        version=row["version"],
        updated=row["updated"],
        deleted=row["deleted"],
        body=row["body"],
        patients=frozenset(row["patients"] or ([row["patient"]] if row["patient"] else [])),
    )
