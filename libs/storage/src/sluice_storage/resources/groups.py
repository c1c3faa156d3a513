"""Groups of patients: who is in them, by a Group resource that was loaded or by what operators say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import asyncpg

from sluice_storage.resources.model import Group, LoadedGroupError, Member
from sluice_storage.resources.tables import Connection

_GROUP = """
    SELECT g.group_id AS id, g.name, g.managed, g.updated,
        (SELECT count(*) FROM fhir.group_members m WHERE m.group_id = g.group_id) AS members
    FROM fhir.groups g
"""


def utc_now() -> datetime:
    """Give the time."""
    return datetime.now(UTC)


class Groups:
    """Groups in Postgres.

    Parameters
    ----------
    pool
        Connections of a role that may write `fhir.groups` and `fhir.group_members`; reading needs less.
    now
        Gives the time.
    """

    def __init__(self, pool: asyncpg.Pool, now: Callable[[], datetime] = utc_now) -> None:
        self._pool = pool
        self._now = now

    async def get(self, group: str) -> Group | None:
        """Give the group, or None."""
        row = await self._pool.fetchrow(f"{_GROUP} WHERE g.group_id = $1", group)
        return None if row is None else Group(**row)

    async def list(self) -> tuple[Group, ...]:
        """Give all groups, by id."""
        return tuple(Group(**row) for row in await self._pool.fetch(f"{_GROUP} ORDER BY g.group_id"))

    async def members(self, group: str) -> tuple[Member, ...]:
        """Give who is in the group, by id."""
        rows = await self._pool.fetch(
            "SELECT patient, since FROM fhir.group_members WHERE group_id = $1 ORDER BY patient", group
        )
        return tuple(Member(**row) for row in rows)

    async def put(self, group: str, name: str, patients: Iterable[str]) -> Group:
        """Make the group have this name and these patients; who stays keeps the time of joining.

        Raises
        ------
        LoadedGroupError
            A Group resource says who is in it.
        """
        wanted = sorted(set(patients))
        async with self._pool.acquire() as connection, connection.transaction():
            now = self._now()
            await connection.execute(
                """
                INSERT INTO fhir.groups (group_id, managed, name, updated) VALUES ($1, 'api', $2, $3)
                ON CONFLICT (group_id) DO UPDATE SET name = $2, updated = $3 WHERE groups.managed = 'api'
                """,
                group,
                name,
                now,
            )
            await _hold(connection, group)
            await connection.execute(
                "DELETE FROM fhir.group_members WHERE group_id = $1 AND patient <> ALL($2::text[])",
                group,
                wanted,
            )
            await _join(connection, group, wanted, now)
            row = await connection.fetchrow(f"{_GROUP} WHERE g.group_id = $1", group)
        if row is None:
            raise LookupError("the group went while it was written")
        return Group(**row)

    async def add(self, group: str, patients: Iterable[str]) -> int:
        """Add patients to a group; give how many of them were not in it.

        Raises
        ------
        LookupError
            There is no such group.
        LoadedGroupError
            A Group resource says who is in it.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await _hold(connection, group)
            return await _join(connection, group, sorted(set(patients)), self._now())

    async def remove(self, group: str, patients: Iterable[str]) -> int:
        """Take patients out of a group; give how many of them were in it.

        Raises
        ------
        LookupError
            There is no such group.
        LoadedGroupError
            A Group resource says who is in it.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await _hold(connection, group)
            done = await connection.execute(
                "DELETE FROM fhir.group_members WHERE group_id = $1 AND patient = ANY($2::text[])",
                group,
                list(patients),
            )
        return int(done.rpartition(" ")[2])

    async def delete(self, group: str) -> bool:
        """Delete a group; say whether there was one.

        Raises
        ------
        LoadedGroupError
            A Group resource says who is in it: that is what has to be deleted.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            try:
                await _hold(connection, group)
            except LookupError:
                return False
            await connection.execute("DELETE FROM fhir.groups WHERE group_id = $1", group)
            return True


async def _hold(connection: Connection, group: str) -> None:
    managed = await connection.fetchval(
        "SELECT managed FROM fhir.groups WHERE group_id = $1 FOR UPDATE", group
    )
    if managed is None:
        raise LookupError("no such group")
    if managed != "api":
        raise LoadedGroupError


async def _join(connection: Connection, group: str, patients: list[str], now: datetime) -> int:
    done = await connection.execute(
        """
        INSERT INTO fhir.group_members (group_id, patient, since)
        SELECT $1, m.patient, $3 FROM unnest($2::text[]) AS m (patient) ON CONFLICT DO NOTHING
        """,
        group,
        patients,
        now,
    )
    return int(done.rpartition(" ")[2])
