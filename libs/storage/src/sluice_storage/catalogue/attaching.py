"""Attaching: files of imports enter their folders, many in one transaction, each exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
import structlog

from sluice_contracts.events import FileOutcome
from sluice_storage.catalogue.attaching_rows import (
    Decided,
    delete_files,
    file_all,
    hold,
    hold_contents,
    look_up,
    named,
    read,
)
from sluice_storage.catalogue.attachment import Attached, Attachment, Item, Refusal
from sluice_storage.catalogue.placement import Decision, Folders, Unknown, Wanted, decide
from sluice_storage.catalogue.rows import Connection, release_blobs
from sluice_storage.objects import ObjectStoreError, name_of

log = structlog.get_logger(__name__)


class Attaching:
    """Attaches batches.

    Parameters
    ----------
    pool
        Connections of a role that owns the `files` schema and may call `documents.hold_jobs`.
    remove
        Removes an object, by its name.
    new_id
        Gives a new entry id: 24 random hexadecimal digits.
    now
        Gives the time.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        remove: Callable[[str], Awaitable[None]],
        new_id: Callable[[], str],
        now: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._remove = remove
        self._new_id = new_id
        self._now = now

    async def __call__(self, batch: Sequence[Attachment]) -> list[Attached | Refusal]:
        """Attach the batch in one transaction and give what became of each, in the batch's order.

        An item that took effect before gets the outcome that was recorded then, whatever has happened to its
        file since. Items of cancelled jobs change nothing; a cancellation that comes during the call takes
        effect after it. Objects that were brought for nothing, most often since their contents are there
        already, are removed afterwards.
        """
        results, used = await self._attach(batch)
        await self._discard({row.stored.object for row in batch} - used)
        return [results[row.job, row.item] for row in batch]

    async def _discard(self, spare: set[UUID | None]) -> None:
        try:
            await asyncio.gather(*(self._remove(name_of(each)) for each in spare if each is not None))
        except ObjectStoreError as error:
            # No row names them, and nothing opens them: their keys were kept nowhere. The janitor finds them.
            log.warning("objects wait for the next sweep", count=len(spare), error=type(error).__name__)

    async def _attach(
        self, batch: Sequence[Attachment]
    ) -> tuple[dict[Item, Attached | Refusal], set[UUID | None]]:
        """Give what became of each item, and the objects of the batch that rows name now."""
        # In one order everywhere; an item that was delivered twice into one batch counts once.
        rows = {(row.job, row.item): row for row in sorted(batch, key=lambda row: (row.job, row.item))}
        async with self._pool.acquire() as connection, connection.transaction():
            live, projects = await hold(connection, {row.job for row in batch}, {row.folder for row in batch})
            folders = Folders()
            places = {(row.folder, row.name) for row in batch}
            results: dict[Item, Attached | Refusal] = dict(
                await read(connection, list(rows), places, folders)
            )
            due: list[Attachment] = []
            for item, row in rows.items():
                if item in results:
                    continue
                refusal = _refusal(row, live, projects)
                if refusal is None:
                    due.append(row)
                else:
                    results[item] = refusal
            plan = await self._plan(connection, due, folders)
            decided = list(zip(due, plan, strict=True))
            written, used = await self._write(connection, decided, projects)
            unused = {row.stored.sha256 for row in batch if row.stored.object not in used}
            if unused:
                # Theirs may be from an earlier call whose end was not heard of.
                used |= await named(connection, unused)
        return results | written, used

    async def _write(
        self,
        connection: Connection,
        decided: list[Decided],
        projects: dict[str, str],
    ) -> tuple[dict[Item, Attached], set[UUID | None]]:
        now = self._now()
        replaced = {decision.replaces for _, decision in decided if decision.replaces}
        # What a later item of this batch replaces at once never becomes a row.
        filed = [
            (row, decision)
            for row, decision in decided
            if decision.outcome is not FileOutcome.SKIPPED and decision.entry not in replaced
        ]
        old = await delete_files(connection, replaced) if replaced else []
        contents = {row.stored.sha256: row.stored for row, _ in filed}
        used = await hold_contents(connection, contents.values(), old, now)
        if decided:
            await file_all(connection, filed, decided, projects, now)
        # Contents whose last file was replaced.
        await release_blobs(connection, [sha256 for sha256 in old if sha256 not in contents], now)
        outcomes = {
            (row.job, row.item): Attached(decision.outcome, decision.entry, row.stored.size, row.others)
            for row, decision in decided
        }
        return outcomes, used

    async def _plan(self, connection: Connection, due: list[Attachment], folders: Folders) -> list[Decision]:
        wanted = [Wanted(row.job, row.folder, row.name, row.rule, self._new_id()) for row in due]
        while isinstance(plan := decide(wanted, folders), Unknown):
            await look_up(connection, plan.places, folders)
        return plan


def _refusal(row: Attachment, live: set[str], projects: dict[str, str]) -> Refusal | None:
    if row.job not in live:
        return Refusal.CANCELLED
    return None if row.folder in projects else Refusal.DESTINATION_GONE
