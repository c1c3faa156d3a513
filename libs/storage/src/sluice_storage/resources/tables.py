"""Where resources of a type are, and which of them a snapshot has: the SQL that readers share."""

from __future__ import annotations

import re
from collections.abc import Sequence

import asyncpg

from sluice_storage.resources.model import Window

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

_TYPE = re.compile(r"[A-Z][A-Za-z]{1,48}")


def table_of(type_: str) -> str:
    """Give the table with the resources of a type.

    Raises
    ------
    ValueError
        It is no name that a resource type may have.
    """
    if not _TYPE.fullmatch(type_):
        raise ValueError("not a resource type")
    return f"fhir.resources_{type_.lower()}"


def visible(window: Window, *, deleted: bool = False, times: bool = True) -> str:
    """Give the condition on rows `r` to be in the window: resources, or with `deleted` tombstones.

    Without `times` only what the snapshot says: for rows whose place is known to be in the window.
    """
    batch = int(window.snapshot.batch)
    terms = [
        f"r.batch <= {batch}",
        f"(r.superseded_by IS NULL OR r.superseded_by > {batch})",
        "r.deleted" if deleted else "NOT r.deleted",
    ]
    if times and window.since is not None:
        terms.append(f"r.updated > '{window.since.isoformat()}'::timestamptz")
    if times and window.until is not None:
        terms.append(f"r.updated <= '{window.until.isoformat()}'::timestamptz")
    return " AND ".join(terms)


IN_A_COMPARTMENT = "(r.patient IS NOT NULL OR r.shared)"
"""The condition on rows `r` to be in the compartment of some patient."""


async def existing(pool: asyncpg.Pool, types: Sequence[str]) -> list[str]:
    """Give those of the types that have ever had a resource, in their order."""
    rows = await pool.fetch(
        """
        SELECT t.type FROM unnest($1::text[]) WITH ORDINALITY AS t (type, n)
        WHERE EXISTS (SELECT FROM fhir.batch_types b WHERE b.type = t.type) ORDER BY n
        """,
        list(types),
    )
    return [row["type"] for row in rows]
