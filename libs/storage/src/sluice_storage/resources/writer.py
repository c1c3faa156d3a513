"""Writing resources: what is new or newer becomes a version, what is the same changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol, TypeVar

import asyncpg
from msgspec import Struct

from sluice_storage.resources.batches import CONFLICTS, Batch, batch
from sluice_storage.resources.tables import Connection
from sluice_storage.resources.writer_rows import (
    Content,
    Head,
    Row,
    drop_loaded_groups,
    heads_of,
    insert,
    living,
    put_loaded_group,
    supersede,
    touch,
)

Key = tuple[str, str]
"""A resource's type and id."""

_MOST_TRIES = 50


class Incoming(Content, Protocol):
    """A resource to be written: `sluice_fhir.ndjson_resource.Resource` is one."""

    @property
    def type(self) -> str:
        """Its type."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def digest(self) -> bytes:
        """What stands for its content, without version and time."""

    @property
    def source_updated(self) -> datetime | None:
        """When its source says it was updated last."""

    @property
    def patients(self) -> tuple[str, ...]:
        """The patients whose compartments it is in."""

    @property
    def members(self) -> tuple[str, ...] | None:
        """The patients in it, if it is a Group."""

    @property
    def name(self) -> str:
        """Its name, if it is a Group."""


class Written(Struct, gc=False):
    """How many resources were new, got a new version, were as they are, or older than what is there.

    `kept` are the places, by type, of those that were as they are.
    """

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    stale: int = 0
    deleted: int = 0
    kept: dict[str, list[int]] = {}


ByType = dict[str, dict[str, Incoming]]
"""Resources by type and id."""

Result = TypeVar("Result")


class _Plan(Struct):
    """What is to be done with one type: what to write over which heads, which heads to tell a later time."""

    rows: list[tuple[Incoming, Head | None]]
    touched: list[tuple[int, datetime]]


class Writer:
    """Writes resources in batches, each call one.

    Any number of writers may write the same resources at once: whoever comes second looks again. Of two
    contents with times of their source the newer wins; without, the one that is written last.

    Parameters
    ----------
    pool
        Connections of a role that owns the schema `fhir`.
    job, source
        What is noted with each batch: the job that brings it, the source it comes from.
    claims
        Store what is there already too, as a version of the job's own, unless the job has stored it: then it
        stays when what another job stored is withdrawn.
    now
        Gives the time, if the server's clock is not to.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        job: str | None = None,
        source: str | None = None,
        claims: bool = False,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._pool = pool
        self._job = job
        self._claims = claims
        self._source = source
        self._now = now
        self._known: set[str] = set()

    async def write(self, resources: Iterable[Incoming]) -> Written:
        """Write resources, all or nothing. Of several with one type and id only the newest counts."""
        written = Written()
        by_type = _newest(resources, written)
        if by_type:
            await self._ensure(by_type)
            done = await self._retried(lambda connection: self._write(connection, by_type))
            written.created, written.updated, written.unchanged = done.created, done.updated, done.unchanged
            written.stale += done.stale
            written.kept = done.kept
        return written

    async def delete(self, keys: Iterable[Key]) -> int:
        """Delete resources, all or nothing, leaving tombstones; give how many of them there were."""
        ids: dict[str, list[str]] = {}
        for type_, id_ in dict.fromkeys(keys):
            ids.setdefault(type_, []).append(id_)
        if not ids:
            return 0
        await self._ensure(ids)
        return await self._retried(lambda connection: self._delete(connection, ids))

    async def _ensure(self, types: Iterable[str]) -> None:
        missing = sorted(set(types) - self._known)
        if missing:
            await self._pool.execute("SELECT fhir.ensure_types($1)", missing)
            self._known.update(missing)

    async def _retried(self, attempt: Callable[[Connection], Awaitable[Result]]) -> Result:
        tries = 0
        while True:
            try:
                async with self._pool.acquire() as connection:
                    return await attempt(connection)
            except CONFLICTS:
                # Somebody else got on, so this ends; the limit is against what would be an error of ours.
                tries += 1
                if tries >= _MOST_TRIES:
                    raise
            await asyncio.sleep(0.005 * tries)

    async def _write(self, connection: Connection, by_type: ByType) -> Written:
        written = Written()
        plans = {
            type_: decide(
                resources,
                await heads_of(connection, type_, list(resources), jobs=self._claims),
                written,
                self._job if self._claims else None,
            )
            for type_, resources in by_type.items()
        }
        rows = sum(len(plan.rows) for plan in plans.values())
        if rows:
            async with self._batch(connection, rows) as opened:
                await self._put(connection, opened, plans, opened.first_seq)
        elif any(plan.touched for plan in plans.values()):
            async with connection.transaction():
                for type_, plan in plans.items():
                    await touch(connection, type_, plan.touched)
        return written

    async def _put(
        self,
        connection: Connection,
        opened: Batch,
        plans: dict[str, _Plan],
        place: int,
        *,
        more: bool = False,
    ) -> int:
        """Write at the places from `place` on, and give the one after the last."""
        for type_, plan in plans.items():
            await touch(connection, type_, plan.touched)
            rows = [_row(resource, head) for resource, head in plan.rows]
            await supersede(connection, type_, opened, [row.head for row in rows if row.head is not None])
            await insert(connection, type_, opened, rows, place, more=more)
            place += len(rows)
            for resource, _ in plan.rows:
                if resource.members is not None:
                    await put_loaded_group(connection, opened, resource.id, resource.name, resource.members)
        return place

    async def _delete(self, connection: Connection, by_type: dict[str, list[str]]) -> int:
        tombstones = {type_: await self._tombstones(connection, type_, ids) for type_, ids in by_type.items()}
        total = sum(map(len, tombstones.values()))
        if not total:
            return 0
        async with self._batch(connection, total) as opened:
            place = opened.first_seq
            for type_, rows in tombstones.items():
                place = await self._bury(connection, opened, type_, rows, place)
        return total

    async def _tombstones(self, connection: Connection, type_: str, ids: Sequence[str]) -> list[Row]:
        return [
            Row(id_, head.version + 1, b"", None, patients, None, head)
            for id_, (head, patients) in (await living(connection, type_, ids)).items()
        ]

    async def _bury(
        self,
        connection: Connection,
        opened: Batch,
        type_: str,
        rows: Sequence[Row],
        place: int,
        *,
        more: bool = False,
    ) -> int:
        await supersede(connection, type_, opened, [row.head for row in rows if row.head is not None])
        await insert(connection, type_, opened, rows, place, more=more)
        if type_ == "Group":
            await drop_loaded_groups(connection, [row.id for row in rows])
        return place + len(rows)

    def _batch(self, connection: Connection, rows: int) -> AbstractAsyncContextManager[Batch]:
        now = None if self._now is None else self._now()
        return batch(connection, rows, job=self._job, source=self._source, now=now)


def _newest(resources: Iterable[Incoming], written: Written) -> ByType:
    found: ByType = {}
    for resource in resources:
        of_type = found.setdefault(resource.type, {})
        other = of_type.get(resource.id)
        if other is not None:
            written.stale += 1
            if _older(resource.source_updated, other.source_updated):
                continue
        of_type[resource.id] = resource
    return found


def _older(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one < other


def decide(
    resources: dict[str, Incoming], heads: dict[str, Head], written: Written, claimant: str | None = None
) -> _Plan:
    """Decide what is to be written of resources of one type, by their current versions, and count it.

    `claimant` is the job that has a version of its own of everything.
    """
    plan = _Plan([], [])
    for id_, resource in resources.items():
        head = heads.get(id_)
        if head is None or head.deleted:
            written.created += 1
            plan.rows.append((resource, head))
        elif _older(resource.source_updated, head.source_updated):
            written.stale += 1
        elif head.digest != resource.digest or (claimant is not None and head.job != claimant):
            written.updated += 1
            plan.rows.append((resource, head))
        else:
            written.unchanged += 1
            written.kept.setdefault(resource.type, []).append(head.seq)
            # Known to be of a later time, so that what comes with a time in between does not replace it.
            if resource.source_updated is not None and resource.source_updated != head.source_updated:
                plan.touched.append((head.seq, resource.source_updated))
    return plan


def _row(resource: Incoming, head: Head | None) -> Row:
    return Row(
        resource.id,
        1 if head is None else head.version + 1,
        resource.digest,
        resource.source_updated,
        resource.patients,
        resource,
        head,
    )
