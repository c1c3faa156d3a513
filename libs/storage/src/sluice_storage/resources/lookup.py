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
        self,
        type_: str,
        *,
        after: int = 0,
        limit: int = 50,
        patients: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> Page:
        """Give some resources of the type that are not deleted, in the order in which they came.

        Parameters
        ----------
        after
            Where the page starts: 0, or the `next` of the page before.
        patients
            Only those in these patients' compartments.
        ids
            Only those with these ids.
        groups
            Only those in the compartments of patients in these groups.
        """
        sized = await self._sized(groups, narrowed=ids is not None or patients is not None)
        conditions, arguments = _conditions(type_, after, patients, ids, sized)
        rows = await self._pool.fetch(
            f"""
            SELECT {_COLUMNS} FROM fhir.resources r WHERE {conditions}
            ORDER BY r.seq LIMIT {int(limit) + 1}
            """,  # noqa: S608
            *arguments,
        )
        return Page(_all_stored(rows[:limit]), rows[limit - 1]["seq"] if len(rows) > limit else None)

    async def mentioning(
        self, type_: str, text: str, *, groups: Sequence[str], limit: int = 10
    ) -> tuple[Stored, ...]:
        """Give a few resources whose JSON has the text somewhere, of the patients in these groups.

        This looks at all that these patients have of the type.
        """
        conditions, arguments = _conditions(type_, 0, None, None, (groups, True))
        rows = await self._pool.fetch(
            f"""
            SELECT {_COLUMNS} FROM fhir.resources r
            WHERE {conditions} AND position(${len(arguments) + 1}::bytea IN r.body) > 0 LIMIT {int(limit)}
            """,  # noqa: S608
            *arguments,
            text.encode(),
        )
        return _all_stored(rows)

    async def count(
        self,
        type_: str,
        *,
        patients: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> int:
        """Give how many resources all pages have together."""
        sized = await self._sized(groups, narrowed=ids is not None or patients is not None)
        conditions, arguments = _conditions(type_, 0, patients, ids, sized)
        found = await self._pool.fetchval(
            f"SELECT count(*) FROM fhir.resources r WHERE {conditions}",  # noqa: S608
            *arguments,
        )
        return int(found)

    async def _sized(
        self, groups: Sequence[str] | None, *, narrowed: bool
    ) -> tuple[Sequence[str], bool] | None:
        """Give the groups with whether to start from their members: from few of them, and never from ids."""
        if groups is None or narrowed:
            return None if groups is None else (groups, False)
        members = await self._pool.fetchval(
            """
            SELECT count(*) FROM (
                SELECT FROM fhir.group_members WHERE group_id = ANY($1::text[]) LIMIT $2
            ) AS m
            """,
            list(groups),
            _MOST_FROM_MEMBERS + 1,
        )
        return groups, members <= _MOST_FROM_MEMBERS


_MOST_FROM_MEMBERS = 500
# From patients to their data, so that it costs what they have and not what the store has.
_OF_PATIENTS = """
    r.seq IN (
        SELECT o.seq FROM fhir.resources o WHERE o.type = $1 AND o.seq > $2 AND o.patient = ANY({0})
        UNION
        SELECT s.seq FROM fhir.shared s WHERE s.type = $1 AND s.seq > $2 AND s.patient = ANY({0})
    )
"""
_OF_FEW_MEMBERS = """
    r.seq IN (
        SELECT o.seq FROM fhir.group_members m JOIN fhir.resources o ON o.patient = m.patient
        WHERE m.group_id = ANY({0}) AND o.type = $1 AND o.seq > $2
        UNION
        SELECT s.seq FROM fhir.group_members m JOIN fhir.shared s ON s.patient = m.patient
        WHERE m.group_id = ANY({0}) AND s.type = $1 AND s.seq > $2
    )
"""
# Row by row: so many patients' data are found soon, and few rows were chosen otherwise.
_OF_MEMBERS = """
    CASE WHEN r.shared THEN EXISTS (
        SELECT FROM fhir.shared s JOIN fhir.group_members m ON m.patient = s.patient
        WHERE s.type = $1 AND s.seq = r.seq AND m.group_id = ANY({0})
    ) ELSE EXISTS (
        SELECT FROM fhir.group_members m WHERE m.patient = r.patient AND m.group_id = ANY({0})
    ) END
"""


def _conditions(
    type_: str,
    after: int,
    patients: Sequence[str] | None,
    ids: Sequence[str] | None,
    groups: tuple[Sequence[str], bool] | None,
) -> tuple[str, list[object]]:
    """Give the conditions on rows `r`, and their arguments; `groups` also say whether few are in them."""
    conditions = ["r.type = $1", "r.seq > $2", "r.superseded_by IS NULL", "NOT r.deleted"]
    arguments: list[object] = [type_, after]
    narrowed = [(patients, _OF_PATIENTS), (ids, "r.id = ANY({0})")]
    if groups is not None:
        narrowed.append((groups[0], _OF_FEW_MEMBERS if groups[1] else _OF_MEMBERS))
    for wanted, condition in narrowed:
        if wanted is not None:
            arguments.append(list(wanted))
            conditions.append(condition.format(f"${len(arguments)}::text[]"))
    return " AND ".join(conditions), arguments


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
        seq=row["seq"],
    )
