"""Who may do what in a project."""

from __future__ import annotations

import asyncpg

from sluice_storage.audit import Record, note
from sluice_storage.catalogue.model import ForbiddenError, Member, NotFoundError, Page, Project
from sluice_storage.catalogue.rows import Connection, permissions_of, project_of

PROJECT_OF_MEMBER = (
    "SELECT p.*, m.can_write, m.can_copy, m.can_execute, m.can_admin "
    "FROM files.projects p JOIN files.members m ON m.project = p.id AND m.subject = $1 "
)


class Members:
    """Members of projects in Postgres.

    Parameters
    ----------
    pool
        Connections of a role that owns the `files` schema.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def list(self, subject: str, project: str, *, limit: int = 50, offset: int = 0) -> Page[Member]:
        """List a project's members in the order of their names."""
        await membership(self._pool, subject, project)
        rows = await self._pool.fetch(
            "SELECT * FROM files.members WHERE project = $1 ORDER BY subject LIMIT $2 OFFSET $3",
            project,
            limit,
            offset,
        )
        total = await self._pool.fetchval("SELECT count(*) FROM files.members WHERE project = $1", project)
        return Page(tuple(Member(row["subject"], permissions_of(row)) for row in rows), total)

    async def get(self, subject: str, project: str, who: str) -> Member:
        """Give one member of a project that the subject is a member of."""
        await membership(self._pool, subject, project)
        row = await self._pool.fetchrow(
            "SELECT * FROM files.members WHERE project = $1 AND subject = $2", project, who
        )
        if row is None:
            raise NotFoundError
        return Member(row["subject"], permissions_of(row))

    async def put(self, subject: str, project: str, member: Member) -> Member:
        """Add a member or change one's permissions; needs admin permission.

        Raises
        ------
        ForbiddenError
            Also when this would leave the project without an administrator.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await _administer(connection, subject, project)
            await put_member(connection, project, member)
            await _need_administrator(connection, project)
            await note(connection, _changed(project, member.subject))
        return member

    async def remove(self, subject: str, project: str, who: str) -> None:
        """Remove a member; needs admin permission, or is oneself. Raises as `put` does."""
        async with self._pool.acquire() as connection, connection.transaction():
            if who == subject:
                await membership(connection, subject, project)
                await _lock_members(connection, project)
            else:
                await _administer(connection, subject, project)
            gone = await connection.fetchval(
                "DELETE FROM files.members WHERE project = $1 AND subject = $2 RETURNING subject",
                project,
                who,
            )
            if gone is None:
                raise NotFoundError
            await _need_administrator(connection, project)
            await note(connection, _changed(project, who))


def _changed(project: str, member: str) -> Record:
    return Record(act="member.change", kind="project", entity=project, ids=(member,))


async def membership(at: asyncpg.Pool | Connection, subject: str, project: str) -> Project:
    """Give the project with what the subject may do in it, or raise NotFoundError."""
    row = await at.fetchrow(PROJECT_OF_MEMBER + "WHERE p.id = $2", subject, project)
    if row is None:
        raise NotFoundError
    return project_of(row)


def need(permission: bool) -> None:
    """Raise ForbiddenError without the permission."""
    if not permission:
        raise ForbiddenError


async def put_member(connection: Connection, project: str, member: Member) -> None:
    """Write a member's row."""
    may = member.permissions
    await connection.execute(
        """
        INSERT INTO files.members (project, subject, can_write, can_copy, can_execute, can_admin)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (subject, project) DO UPDATE SET
            can_write = excluded.can_write, can_copy = excluded.can_copy,
            can_execute = excluded.can_execute, can_admin = excluded.can_admin
        """,
        project,
        member.subject,
        may.write,
        may.copy,
        may.execute,
        may.admin,
    )


async def _administer(connection: Connection, subject: str, project: str) -> None:
    await _lock_members(connection, project)
    need((await membership(connection, subject, project)).permissions.admin)


async def _lock_members(connection: Connection, project: str) -> None:
    # Two administrators who remove each other must not both succeed.
    await connection.execute("SELECT 1 FROM files.projects WHERE id = $1 FOR NO KEY UPDATE", project)


async def _need_administrator(connection: Connection, project: str) -> None:
    found = await connection.fetchval(
        "SELECT true FROM files.members WHERE project = $1 AND can_admin LIMIT 1", project
    )
    need(found is not None)
