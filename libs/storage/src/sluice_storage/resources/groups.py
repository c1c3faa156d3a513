"""Groups of patients: who is in them, by a Group resource that was loaded or by what operators say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime

import asyncpg

from sluice_storage.audit import Record, note
from sluice_storage.resources.model import (
    Group,
    GroupExistsError,
    LoadedGroupError,
    Member,
    MembersChanged,
)
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

    async def list(self, ids: Sequence[str] | None = None) -> tuple[Group, ...]:
        """Give all groups, or those of these ids that there are, by id."""
        rows = await self._pool.fetch(
            f"{_GROUP} WHERE $1::text[] IS NULL OR g.group_id = ANY($1) ORDER BY g.group_id",
            None if ids is None else list(ids),
        )
        return tuple(Group(**row) for row in rows)

    async def page(
        self, limit: int, offset: int, *, name: str | None = None
    ) -> tuple[tuple[Group, ...], int]:
        """Give some groups, by id, and how many there are; with `name` those whose name holds it."""
        condition = "($1::text IS NULL OR strpos(lower(g.name), lower($1)) > 0)"
        rows = await self._pool.fetch(
            f"{_GROUP} WHERE {condition} ORDER BY g.group_id LIMIT $2 OFFSET $3", name, limit, offset
        )
        total = await self._pool.fetchval(
            f"SELECT count(*) FROM fhir.groups g WHERE {condition}",  # noqa: S608
            name,
        )
        return tuple(Group(**row) for row in rows), total

    async def members(self, group: str, *, limit: int | None = None, offset: int = 0) -> tuple[Member, ...]:
        """Give who is in the group, by id; all of them, or some."""
        rows = await self._pool.fetch(
            """
            SELECT patient, since FROM fhir.group_members WHERE group_id = $1
            ORDER BY patient LIMIT $2 OFFSET $3
            """,
            group,
            limit,
            offset,
        )
        return tuple(Member(**row) for row in rows)

    async def any_member(self, groups: Sequence[str], patients: Iterable[str]) -> bool:
        """Say whether any of the patients is in any of the groups."""
        found = await self._pool.fetchval(
            """
            SELECT EXISTS (
                SELECT FROM fhir.group_members WHERE group_id = ANY($1::text[]) AND patient = ANY($2::text[])
            )
            """,
            list(groups),
            list(patients),
        )
        return bool(found)

    async def absent(self, patients: Iterable[str]) -> int:
        """Give how many of the patients are not in the store."""
        wanted = sorted(set(patients))
        found = await self._pool.fetchval(
            """
            SELECT count(*) FROM fhir.resources r WHERE r.type = 'Patient' AND r.id = ANY($1::text[])
                AND r.superseded_by IS NULL AND NOT r.deleted
            """,
            wanted,
        )
        return len(wanted) - int(found)

    async def create(self, group: str, name: str, patients: Iterable[str]) -> Group:
        """Make a group that is managed by operators.

        Raises
        ------
        GroupExistsError
            There is a group of this id.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            now = self._now()
            made = await connection.fetchval(
                """
                INSERT INTO fhir.groups (group_id, managed, name, updated) VALUES ($1, 'api', $2, $3)
                ON CONFLICT (group_id) DO NOTHING RETURNING true
                """,
                group,
                name,
                now,
            )
            if not made:
                raise GroupExistsError
            members = await _join(connection, group, sorted(set(patients)), now)
            await note(connection, _changed(group, members))
        return Group(group, name, "api", now, members)

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
            await note(connection, _changed(group, len(wanted)))
            row = await connection.fetchrow(f"{_GROUP} WHERE g.group_id = $1", group)
        if row is None:
            raise LookupError("the group went while it was written")
        return Group(**row)

    async def add(self, group: str, patients: Iterable[str]) -> int:
        """Add patients to a group; give how many of them were not in it. Raises as `change` does."""
        return (await self.change(group, add=patients)).added

    async def remove(self, group: str, patients: Iterable[str]) -> int:
        """Take patients out of a group; give how many of them were in it. Raises as `change` does."""
        return (await self.change(group, remove=patients)).removed

    async def change(
        self, group: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()
    ) -> MembersChanged:
        """Add patients to a group and take others out of it, all or nothing.

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
                list(remove),
            )
            removed = int(done.rpartition(" ")[2])
            now = self._now()
            added = await _join(connection, group, sorted(set(add)), now)
            if added or removed:
                await connection.execute(
                    "UPDATE fhir.groups SET updated = $2 WHERE group_id = $1", group, now
                )
                await note(connection, _changed(group, added + removed))
            members = await connection.fetchval(
                "SELECT count(*) FROM fhir.group_members WHERE group_id = $1", group
            )
        return MembersChanged(added, removed, members)

    async def delete(
        self, group: str, *, also: Callable[[Connection], Awaitable[None]] | None = None
    ) -> bool:
        """Delete a group; say whether there was one.

        Parameters
        ----------
        also
            What is to be done in the same transaction, before the group is deleted.

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
            if also is not None:
                await also(connection)
            await connection.execute("DELETE FROM fhir.groups WHERE group_id = $1", group)
            await note(connection, _changed(group, 0))
            return True


def _changed(group: str, patients: int) -> Record:
    return Record(act="group.change", kind="Group", entity=group, items=patients)


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
