"""Reading audit records, the newest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from msgspec import Struct

from sluice_storage.audit.model import Record

Place = tuple[datetime, int]
"""When a record was made and its number: what orders records, and names one."""
_FIELDS = tuple(name for name in Record.__struct_fields__ if name not in ("at", "job"))
_COLUMNS = f"at, id, service, job::text, {', '.join(_FIELDS)}"


class Written(Struct, frozen=True):
    """A record as it is kept; `record.at` is set, and `service` is who wrote it."""

    number: int
    at: datetime
    service: str
    record: Record


class Wanted(Struct, frozen=True):
    """Which records are wanted; None: whatever it is.

    Parameters
    ----------
    since, before
        From this time on, and before that.
    acts, outcomes
        One of these.
    agents
        Ids of clients or subjects.
    addresses
        Where they came from.
    entities
        What it was done to: kind (None: any) and id; a job's id finds what is about the job.
    patients
        Whose data they are.
    """

    since: datetime | None = None
    before: datetime | None = None
    acts: tuple[str, ...] | None = None
    outcomes: tuple[int, ...] | None = None
    agents: tuple[str, ...] | None = None
    addresses: tuple[str, ...] | None = None
    entities: tuple[tuple[str | None, str], ...] | None = None
    patients: tuple[str, ...] | None = None


class Reader:
    """Reads records.

    Parameters
    ----------
    pool
        Connections of a role that may read `audit.records`.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def get(self, place: Place) -> Written | None:
        """Give one record."""
        query = f"SELECT {_COLUMNS} FROM audit.records WHERE at = $1 AND id = $2"  # noqa: S608 - no input in it
        row = await self._pool.fetchrow(query, *place)
        return None if row is None else _written(row)

    async def page(self, wanted: Wanted, *, limit: int, before: Place | None = None) -> Sequence[Written]:
        """Give some of the records that are wanted, the newest first, from `before` on."""
        where, values = _where(wanted, before)
        rows = await self._pool.fetch(
            f"SELECT {_COLUMNS} FROM audit.records {where}"  # noqa: S608 - what is asked for are parameters
            f" ORDER BY at DESC, id DESC LIMIT ${len(values) + 1}",
            *values,
            limit,
        )
        return [_written(row) for row in rows]


def _where(wanted: Wanted, before: Place | None) -> tuple[str, list[Any]]:
    """Give the condition on records, and the values of its parameters."""
    conditions: list[str] = []
    values: list[Any] = []

    def need(condition: str, *given: Any) -> None:
        numbers = (f"${number}" for number in range(len(values) + 1, len(values) + len(given) + 1))
        conditions.append(condition.format(*numbers))
        values.extend(given)

    if wanted.since is not None:
        need("at >= {}", wanted.since)
    if wanted.before is not None:
        need("at < {}", wanted.before)
    for among, condition in (
        (wanted.acts, "act = ANY({}::text[])"),
        (wanted.outcomes, "outcome = ANY({}::smallint[])"),
        (wanted.agents, "(client = ANY({0}::text[]) OR subject = ANY({0}::text[]))"),
        (wanted.addresses, "address = ANY({}::text[])"),
        (wanted.patients, "patients && {}::text[]"),
    ):
        if among is not None:
            need(condition, list(among))
    if wanted.entities is not None:
        need(
            "(entity = ANY({0}::text[]) AND EXISTS (SELECT FROM unnest({0}::text[], {1}::text[])"
            " AS e (id, kind) WHERE e.id = entity AND (e.kind IS NULL OR e.kind = records.kind))"
            " OR job = ANY({2}::uuid[]))",
            [id_ for _, id_ in wanted.entities],
            [kind for kind, _ in wanted.entities],
            [id_ for _, id_ in wanted.entities if _is_uuid(id_)],
        )
    if before is not None:
        need("(at, id) < ({}, {})", *before)
    return (f"WHERE {' AND '.join(conditions)}" if conditions else ""), values


def _written(row: asyncpg.Record) -> Written:
    fields = {name: _tuple(row[name]) for name in (*_FIELDS, "job")}
    return Written(row["id"], row["at"], row["service"], Record(at=row["at"], **fields))


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
