"""Attaching: files of imports enter their folders, many in one transaction, each exactly once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import asyncpg

from sluice_contracts.events import FileOutcome
from sluice_storage.catalogue.attaching_rows import (
    Decided,
    delete_files,
    file_all,
    hold,
    hold_contents,
    look_up,
    read,
)
from sluice_storage.catalogue.attachment import Attached, Attachment, Item, Refusal
from sluice_storage.catalogue.placement import Decision, Folders, Unknown, Wanted, decide
from sluice_storage.catalogue.rows import Connection, release_blobs


class Attaching:
    """Attaches batches.

    Parameters
    ----------
    pool
        Connections of a role that owns the `files` schema and may call `documents.hold_jobs`.
    exists
        Tells whether the object store has a content.
    new_id
        Gives a new entry id: 24 random hexadecimal digits.
    now
        Gives the time.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        exists: Callable[[bytes], Awaitable[bool]],
        new_id: Callable[[], str],
        now: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._exists = exists
        self._new_id = new_id
        self._now = now

    async def __call__(self, batch: Sequence[Attachment]) -> list[Attached | Refusal]:
        """Attach the batch in one transaction and give what became of each, in the batch's order.

        An item that took effect before gets the outcome that was recorded then, whatever has happened to its
        file since. `CONTENT_GONE` says that the content was removed between its storing and this call, as the
        last file with it had been deleted: bring it again. Items of cancelled jobs change nothing; a
        cancellation that comes during the call takes effect after it.
        """
        gone: set[bytes] = set()
        while True:
            try:
                results = await self._attach(batch, gone)
            except _ContentGoneError as error:
                # The whole batch is decided anew without them: they may have held names that others now get.
                gone |= error.hashes
            else:
                return [results[row.job, row.item] for row in batch]

    async def _attach(self, batch: Sequence[Attachment], gone: set[bytes]) -> dict[Item, Attached | Refusal]:
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
                refusal = _refusal(row, live, projects, gone)
                if refusal is None:
                    due.append(row)
                else:
                    results[item] = refusal
            plan = await self._plan(connection, due, folders)
            decided = list(zip(due, plan, strict=True))
            results |= await self._write(connection, list(rows.values()), decided, projects)
        return results

    async def _write(
        self,
        connection: Connection,
        rows: list[Attachment],
        decided: list[Decided],
        projects: dict[str, str],
    ) -> dict[Item, Attached]:
        now = self._now()
        replaced = {decision.replaces for _, decision in decided if decision.replaces}
        # What a later item of this batch replaces at once never becomes a row.
        filed = [
            (row, decision)
            for row, decision in decided
            if decision.outcome is not FileOutcome.SKIPPED and decision.entry not in replaced
        ]
        old = await delete_files(connection, replaced) if replaced else []
        used = {row.stored.sha256 for row, _ in filed}
        missing = await hold_contents(connection, [*(row.stored for row in rows), *old], now, self._exists)
        if missing & used:
            raise _ContentGoneError(missing & used)
        if decided:
            await file_all(connection, filed, decided, projects, now)
        # Contents that were brought for nothing, or whose last file was replaced.
        brought = {row.stored.sha256 for row in rows} | {stored.sha256 for stored in old}
        await release_blobs(connection, list(brought - used), now)
        return {
            (row.job, row.item): Attached(decision.outcome, decision.entry, row.stored.size, row.others)
            for row, decision in decided
        }

    async def _plan(self, connection: Connection, due: list[Attachment], folders: Folders) -> list[Decision]:
        wanted = [Wanted(row.job, row.folder, row.name, row.rule, self._new_id()) for row in due]
        while isinstance(plan := decide(wanted, folders), Unknown):
            await look_up(connection, plan.places, folders)
        return plan


class _ContentGoneError(Exception):
    def __init__(self, hashes: set[bytes]) -> None:
        super().__init__("contents were removed meanwhile")
        self.hashes = hashes


def _refusal(row: Attachment, live: set[str], projects: dict[str, str], gone: set[bytes]) -> Refusal | None:
    if row.job not in live:
        return Refusal.CANCELLED
    if row.folder not in projects:
        return Refusal.DESTINATION_GONE
    return Refusal.CONTENT_GONE if row.stored.sha256 in gone else None
