"""Grants in Postgres."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from sluice_storage.access.model import Grant, GranteeKind, GrantPage
from sluice_storage.audit.acting import asked
from sluice_storage.coalesce import Coalescer
from sluice_storage.resources.tables import Connection

_COLUMNS = """
    id::text, grantee_kind, grantee, all_patients, group_id, types, granted_by, granted_at, expires_at,
    revoked_by, revoked_at
"""


def utc_now() -> datetime:
    """Give the time."""
    return datetime.now(UTC)


class Grants:
    """Gives, finds and revokes grants.

    Parameters
    ----------
    pool
        Connections of a role that owns the schema `access` and may lock rows of `fhir.groups`.
    now
        Gives the time.
    """

    def __init__(self, pool: asyncpg.Pool, now: Callable[[], datetime] = utc_now) -> None:
        self._pool = pool
        self._now = now
        self._asked = Coalescer(self._read)

    def of(self, client: str, subject: str) -> Awaitable[tuple[Grant, ...]]:
        """Give the grants that count now for a token of this client and this subject.

        Where the client acts for itself they are the client's, else the user's; never both.
        """
        return self._asked((GranteeKind.CLIENT if subject == client else GranteeKind.USER, subject))

    async def _read(self, grantees: Sequence[tuple[GranteeKind, str]]) -> Sequence[tuple[Grant, ...]]:
        found: dict[tuple[GranteeKind, str], list[Grant]] = {each: [] for each in grantees}
        rows = await self._pool.fetch(
            f"""
            SELECT {_COLUMNS} FROM unnest($1::text[], $2::text[]) AS asked (kind, name)
            JOIN access.grants ON grantee_kind = kind AND grantee = name COLLATE "C"
            WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)
            ORDER BY granted_at, id
            """,  # noqa: S608
            [kind.value for kind, _ in found],
            [grantee for _, grantee in found],
            self._now(),
        )
        for grant in map(_grant, rows):
            found[grant.grantee_kind, grant.grantee].append(grant)
        return [tuple(found[each]) for each in grantees]

    async def give(self, grant: Grant) -> None:
        """Keep a new grant.

        Raises
        ------
        LookupError
            There is no such group.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            if grant.group is not None:
                # Whoever deletes the group now waits, and then finds this grant to revoke.
                found = await connection.fetchval(
                    "SELECT true FROM fhir.groups WHERE group_id = $1 FOR KEY SHARE", grant.group
                )
                if not found:
                    raise LookupError("no such group")
            await asked(connection)
            await connection.execute(
                """
                INSERT INTO access.grants (id, grantee_kind, grantee, all_patients, group_id, types,
                    granted_by, granted_at, expires_at)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                """,
                UUID(grant.id),
                grant.grantee_kind.value,
                grant.grantee,
                grant.all_patients,
                grant.group,
                None if grant.types is None else list(grant.types),
                grant.granted_by,
                grant.granted_at,
                grant.expires_at,
            )

    async def get(self, grant: str) -> Grant | None:
        """Give the grant, whether it counts or not; None: there never was one."""
        id_ = _uuid(grant)
        if id_ is None:
            return None
        row = await self._pool.fetchrow(
            f"SELECT {_COLUMNS} FROM access.grants WHERE id = $1",  # noqa: S608
            id_,
        )
        return None if row is None else _grant(row)

    async def page(
        self,
        *,
        grantee: str | None = None,
        group: str | None = None,
        ended: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> GrantPage:
        """Give some grants, the newest first.

        Parameters
        ----------
        grantee, group
            Only those of this client or user, of this group.
        ended
            Those that are revoked or expired as well.
        """
        condition = """
            ($1::text IS NULL OR grantee = $1) AND ($2::text IS NULL OR group_id = $2)
            AND ($3 OR revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $4))
        """
        wanted = (grantee, group, ended, self._now())
        rows = await self._pool.fetch(
            f"""
            SELECT {_COLUMNS} FROM access.grants WHERE {condition}
            ORDER BY granted_at DESC, id LIMIT $5 OFFSET $6
            """,  # noqa: S608
            *wanted,
            limit,
            offset,
        )
        total = await self._pool.fetchval(
            f"SELECT count(*) FROM access.grants WHERE {condition}",  # noqa: S608
            *wanted,
        )
        return GrantPage(tuple(map(_grant, rows)), total)

    async def revoke(self, grant: str, by: str) -> bool:
        """Take a grant back; say whether there was one that was not revoked."""
        id_ = _uuid(grant)
        if id_ is None:
            return False
        async with self._pool.acquire() as connection, connection.transaction():
            await asked(connection)
            done = await connection.execute(
                "UPDATE access.grants SET revoked_at = $2, revoked_by = $3"
                " WHERE id = $1 AND revoked_at IS NULL",
                id_,
                self._now(),
                by,
            )
        return bool(done == "UPDATE 1")

    async def revoke_all_of_group(self, connection: Connection, group: str, by: str) -> None:
        """Take back all grants of a group, in the transaction that deletes it.

        A later group that happens to have the same id is then nobody's.
        """
        await asked(connection)
        await connection.execute(
            """
            UPDATE access.grants SET revoked_at = $2, revoked_by = $3
            WHERE group_id = $1 AND revoked_at IS NULL
            """,
            group,
            self._now(),
            by,
        )


def _uuid(text: str) -> UUID | None:
    try:
        found = UUID(text)
    except ValueError:
        return None
    # Other spellings of a UUID are no addresses of its grant.
    return found if str(found) == text else None


def _grant(row: asyncpg.Record) -> Grant:
    return Grant(
        id=row["id"],
        grantee_kind=GranteeKind(row["grantee_kind"]),
        grantee=row["grantee"],
        all_patients=row["all_patients"],
        group=row["group_id"],
        types=None if row["types"] is None else tuple(row["types"]),
        granted_by=row["granted_by"],
        granted_at=row["granted_at"],
        expires_at=row["expires_at"],
        revoked_by=row["revoked_by"],
        revoked_at=row["revoked_at"],
    )
