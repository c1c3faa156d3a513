"""Storing and deleting resources one by one, for whoever has to be told what became of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from sluice_storage.audit import Record, note
from sluice_storage.resources.batches import Batch
from sluice_storage.resources.tables import Connection
from sluice_storage.resources.writer import Incoming, Key, Writer
from sluice_storage.resources.writer_rows import (
    Row,
    drop_loaded_groups,
    heads_of,
    insert,
    living,
    put_loaded_group,
    supersede,
)

Also = Callable[[Connection], Awaitable[None]]
"""What else is to be done in the transaction that stores."""


class Applied(Struct, frozen=True):
    """What became of a resource.

    Its version now; whether there was none, or a deleted one, before; since when it is so, None if that is as
    it was.
    """

    version: int
    created: bool = False
    updated: datetime | None = None


class Applier(Writer):
    """Stores and deletes resources, each call one batch: all or nothing.

    What is stored replaces what is there, whatever either says of its time. The same content again is no new
    version.
    """

    async def apply(
        self, resources: Sequence[Incoming], deletions: Iterable[Key] = (), *, also: Also | None = None
    ) -> dict[Key, Applied]:
        """Store resources and delete others.

        Parameters
        ----------
        resources
            No two with the same type and id.
        deletions
            None of these resources.
        also
            Done last in the same transaction, which it undoes if it raises; it may be called again, in
            another one, if somebody else writes the same.

        Returns
        -------
        dict
            What became of each; of deletions, only of those that there were.
        """
        gone = sorted(set(deletions))
        types = sorted({resource.type for resource in resources} | {type_ for type_, _ in gone})
        if not types:
            return {}
        await self._ensure(types)
        return await self._retried(lambda connection: self._apply(connection, types, resources, gone, also))

    async def _apply(
        self,
        connection: Connection,
        types: Sequence[str],
        resources: Sequence[Incoming],
        gone: Sequence[Key],
        also: Also | None,
    ) -> dict[Key, Applied]:
        done: dict[Key, Applied] = {}
        changes: dict[str, list[tuple[Incoming | None, Row]]] = {}
        for type_ in types:
            changed = [
                *await _stored(connection, type_, [each for each in resources if each.type == type_], done),
                *await _buried(connection, type_, [id_ for kind, id_ in gone if kind == type_]),
            ]
            if changed:
                changes[type_] = changed
        total = sum(map(len, changes.values()))
        if total:
            async with self._batch(connection, total) as opened:
                await _write(connection, opened, changes)
                await note(connection, _record(changes, total, self._job))
                if also is not None:
                    await also(connection)
            for type_, changed in changes.items():
                for _, row in changed:
                    created = row.content is not None and (row.head is None or row.head.deleted)
                    done[type_, row.id] = Applied(row.version, created, opened.time)
        elif also is not None:
            async with connection.transaction():
                await also(connection)
        return done


def _record(changes: dict[str, list[tuple[Incoming | None, Row]]], total: int, job: str | None) -> Record:
    rows = [(type_, row) for type_, changed in changes.items() for _, row in changed]
    return Record(
        act="store",
        kind="Bundle",
        ids=tuple(f"{type_}/{row.id}" for type_, row in rows),
        patients=tuple(sorted({patient for _, row in rows for patient in row.patients})) or None,
        job=job,
        items=total,
    )


async def _stored(
    connection: Connection, type_: str, resources: Sequence[Incoming], done: dict[Key, Applied]
) -> list[tuple[Incoming | None, Row]]:
    """Give the rows that are to be written; what is there already is noted as done."""
    if not resources:
        return []
    heads = await heads_of(connection, type_, [resource.id for resource in resources])
    changed: list[tuple[Incoming | None, Row]] = []
    for resource in resources:
        head = heads.get(resource.id)
        if head is not None and not head.deleted and head.digest == resource.digest:
            done[type_, resource.id] = Applied(head.version)
            continue
        version = 1 if head is None else head.version + 1
        row = Row(resource.id, version, resource.digest, None, resource.patients, resource, head)
        changed.append((resource, row))
    return changed


async def _buried(
    connection: Connection, type_: str, ids: Sequence[str]
) -> list[tuple[Incoming | None, Row]]:
    if not ids:
        return []
    found = await living(connection, type_, ids)
    return [
        (None, Row(id_, head.version + 1, b"", None, patients, None, head))
        for id_, (head, patients) in found.items()
    ]


async def _write(
    connection: Connection, opened: Batch, changes: dict[str, list[tuple[Incoming | None, Row]]]
) -> None:
    place = opened.first_seq
    for type_, changed in changes.items():
        rows = [row for _, row in changed]
        await supersede(connection, type_, opened, [row.head for row in rows if row.head is not None])
        await insert(connection, type_, opened, rows, place)
        place += len(rows)
        for resource, _ in changed:
            if resource is not None and resource.members is not None:
                await put_loaded_group(connection, opened, resource.id, resource.name, resource.members)
        if type_ == "Group":
            await drop_loaded_groups(connection, [row.id for row in rows if row.content is None])
