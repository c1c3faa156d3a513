"""Projects and who may do what in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from sluice_storage.catalogue.members import PROJECT_OF_MEMBER, membership, need, put_member
from sluice_storage.catalogue.model import OWNER, Destination, Member, NameTakenError, Page, Project
from sluice_storage.catalogue.rows import project_of

_COUNT = "SELECT count(*) FROM files.projects p JOIN files.members m ON m.project = p.id AND m.subject = $1 "


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where a subject may import to, of what was asked for; `refused` ids are readable but not writable."""

    projects: dict[str, Destination]
    folders: dict[str, Destination]
    refused: frozenset[str]


class Projects:
    """Projects in Postgres.

    Parameters
    ----------
    pool
        Connections of a role that owns the `files` schema.
    new_id
        Gives a new entry id: 24 random hexadecimal digits.
    now
        Gives the time.
    """

    def __init__(self, pool: asyncpg.Pool, new_id: Callable[[], str], now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._new_id = new_id
        self._now = now

    async def create(
        self, subject: str, project: str, *, name: str, description: str = "", tags: Sequence[str] = ()
    ) -> Project:
        """Create a project with an empty root folder and the subject as its owner.

        Parameters
        ----------
        project
            Its id, `owner/slug`.

        Raises
        ------
        NameTakenError
            A project of that id exists, whoever's it is.
        """
        now, root = self._now(), self._new_id()
        async with self._pool.acquire() as connection, connection.transaction():
            made = await connection.fetchval(
                """
                INSERT INTO files.projects
                    (id, name, description, tags, root, created_by, created_on, modified_on)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (id) DO NOTHING RETURNING id
                """,
                project,
                name,
                description,
                list(tags),
                root,
                subject,
                now,
            )
            if made is None:
                raise NameTakenError
            await connection.execute(
                """
                INSERT INTO files.entries (id, project, kind, name, created_on, modified_on)
                VALUES ($1, $2, 'folder', $3, $4, $4)
                """,
                root,
                project,
                project.partition("/")[2],
                now,
            )
            await put_member(connection, project, Member(subject, OWNER))
            return await membership(connection, subject, project)

    async def get(self, subject: str, project: str) -> Project:
        """Give the project; NotFoundError if the subject is no member of it."""
        return await membership(self._pool, subject, project)

    async def list(
        self,
        subject: str,
        *,
        name: str | None = None,
        owner: str | None = None,
        limit: int = 50,
        offset: int = 0,
    ) -> Page[Project]:
        """List the subject's projects in the order of their ids.

        `name` keeps those whose name contains it, in any case; `owner` those whose id starts with `owner/`.
        """
        where = (
            "WHERE ($2::text IS NULL OR strpos(lower(p.name), lower($2)) > 0) "
            "AND ($3::text IS NULL OR split_part(p.id, '/', 1) = $3) "
        )
        rows = await self._pool.fetch(
            PROJECT_OF_MEMBER + where + "ORDER BY p.id LIMIT $4 OFFSET $5",
            subject,
            name,
            owner,
            limit,
            offset,
        )
        total = await self._pool.fetchval(
            _COUNT + where,
            subject,
            name,
            owner,
        )
        return Page(tuple(project_of(row) for row in rows), total)

    async def change(
        self,
        subject: str,
        project: str,
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
    ) -> Project:
        """Change what is given; needs write permission.

        Raises
        ------
        NotFoundError, ForbiddenError
            As everywhere in the catalogue.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            found = await membership(connection, subject, project)
            need(found.permissions.write)
            await connection.execute(
                """
                UPDATE files.projects SET name = coalesce($2, name), description = coalesce($3, description),
                    tags = coalesce($4, tags), modified_on = $5 WHERE id = $1
                """,
                project,
                name,
                description,
                None if tags is None else list(tags),
                self._now(),
            )
            return await membership(connection, subject, project)

    async def destinations(
        self, subject: str, *, projects: Sequence[str] = (), folders: Sequence[str] = ()
    ) -> Destinations:
        """Give, of these projects (their roots) and folders, those that the subject may write into.

        What is not there or not the subject's to know of is left out; this is one query for a whole request.
        """
        rows = await self._pool.fetch(
            """
            SELECT f.id, f.project, f.parent, m.can_write FROM files.entries f
            JOIN files.members m ON m.project = f.project AND m.subject = $1
            WHERE f.kind = 'folder' AND (f.id = ANY($3)
                OR f.id IN (SELECT root FROM files.projects WHERE id = ANY($2)))
            """,
            subject,
            list(projects),
            list(folders),
        )
        by_project: dict[str, Destination] = {}
        by_folder: dict[str, Destination] = {}
        refused: set[str] = set()
        for row in rows:
            at_root = row["parent"] is None and row["project"] in projects
            if not row["can_write"]:
                refused |= {row["id"], row["project"]} if at_root else {row["id"]}
                continue
            where = Destination(row["project"], row["id"])
            if at_root:
                by_project[where.project] = where
            if where.folder in folders:
                by_folder[where.folder] = where
        return Destinations(by_project, by_folder, frozenset(refused))
