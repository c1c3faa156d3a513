"""Writing what was taken aside: all of it in one batch, so that it is there at once or not at all."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Protocol

from msgspec import Struct

from sluice_storage.resources.batches import Batch
from sluice_storage.resources.tables import Connection
from sluice_storage.resources.writer import Incoming, Writer, Written, decide
from sluice_storage.resources.writer_rows import heads_of


class Aside(Struct, frozen=True):
    """Some of one type that was taken aside: resources, and ids to be deleted, by where they came from."""

    type: str
    resources: dict[int, list[Incoming]]
    deletions: dict[int, list[str]]


class Taken(Protocol):
    """What was taken aside; it is read in the transaction that writes it."""

    async def count(self, connection: Connection) -> int:
        """Give how many there are, after older ones of the same resource are removed."""

    def read(self, connection: Connection) -> AsyncGenerator[Aside]:
        """Give them, all of a type together, as much at a time as is written together."""


Ending = Callable[[Connection, dict[int, Written]], Awaitable[None]]
"""What is done last in the same transaction, with what became of the resources by where they came from."""


class WholeWriter(Writer):
    """Writes a whole load in one batch. Snapshots are held back to before it for as long as that takes."""

    async def write_whole(self, types: Iterable[str], taken: Taken, ending: Ending) -> None:
        """Write what was taken aside, all or nothing.

        Parameters
        ----------
        types
            The types that there are.
        ending
            It may be called again, in another transaction, if somebody else writes the same.
        """
        await self._ensure(types)
        await self._retried(lambda connection: self._whole(connection, taken, ending))

    async def _whole(self, connection: Connection, taken: Taken, ending: Ending) -> None:
        async with connection.transaction():
            total = await taken.count(connection)
        done: dict[int, Written] = {}
        if not total:
            async with connection.transaction():
                await ending(connection, done)
            return
        async with self._batch(connection, total) as opened:
            place = opened.first_seq
            async with aclosing(taken.read(connection)) as stream:
                async for some in stream:
                    place = await self._some(connection, opened, some, place, done)
            await ending(connection, done)

    async def _some(
        self, connection: Connection, opened: Batch, some: Aside, place: int, done: dict[int, Written]
    ) -> int:
        every = [resource.id for resources in some.resources.values() for resource in resources]
        heads = await heads_of(connection, some.type, every)
        for item, resources in some.resources.items():
            written = done.setdefault(item, Written())
            plan = decide({resource.id: resource for resource in resources}, heads, written)
            place = await self._put(connection, opened, {some.type: plan}, place, more=True)
        for item, ids in some.deletions.items():
            rows = await self._tombstones(connection, some.type, ids)
            done.setdefault(item, Written()).deleted += len(rows)
            place = await self._bury(connection, opened, some.type, rows, place, more=True)
        return place
