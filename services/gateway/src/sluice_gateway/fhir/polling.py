"""Exports from their owner's side: polling, manifests, deleting.

Whoever is not an export's owner is told that it is not there after the same work as its owner's answer takes.
So is its owner once a grant has ended that it needed; but deleting it they still can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Protocol

from sluice_contracts.commands import CancelBulkExport, ExpireJob
from sluice_contracts.events import JobOutcome
from sluice_contracts.exports import ExpiryReason
from sluice_gateway.etas import Etas, left
from sluice_gateway.fhir.asynchronous import Told, not_available, owned
from sluice_gateway.fhir.export_store import ExportRow, ExportStore, FileRow
from sluice_gateway.fhir.kickoff import Dialect, ListedFile, Page
from sluice_gateway.fhir.outcomes import refused
from sluice_gateway.fhir.pacing import Pacing
from sluice_gateway.fhir.scope_check import check_covers
from sluice_gateway.fhir.starting import GrantReader
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.job_ids import JobIds, lookup_id
from sluice_gateway.problems import Problem
from sluice_gateway.publishing import Commands
from sluice_security.tokens import Principal
from sluice_storage.access.covering import still_granted
from sluice_storage.access.model import Grant
from sluice_storage.pool import TRANSIENT

# A manifest that grows is told in about as many pages, whatever the export's size.
_PAGES = 50


class Owners:
    """Tells whose exports are whose.

    Parameters
    ----------
    store, grants
        Where exports, and who may see whose data, are read.
    ids
        Reads exports' ids.
    now
        The wall clock, Unix seconds.
    """

    def __init__(
        self, store: ExportStore, grants: GrantReader, ids: JobIds, now: Callable[[], float]
    ) -> None:
        self._store = store
        self._grants = grants
        self._ids = ids
        self._now = now

    async def find(self, who: Principal, job: str) -> ExportRow:
        """Give the owner's export, as of its acceptance.

        Raises
        ------
        Refusal
            404: they have no such export, or not any more, or may not see any more what it holds. 403: the
            token's scopes do not cover it.
        """
        # Side by side: each waits for others that ask at the same time.
        row, grants = await asyncio.gather(
            self._store.get(lookup_id(job)), self._grants.of(who.client, who.subject)
        )
        return _granted(self._checked(who, job, row), grants)

    async def find_to_delete(self, who: Principal, job: str) -> ExportRow:
        """Give the owner's export whether they may still see what it holds or not; raises as `find`."""
        return self._checked(who, job, await self._store.get(lookup_id(job)))

    async def find_file(self, who: Principal, job: str, part: int, n: int) -> tuple[ExportRow, FileRow]:
        """Give the owner's export and a file of it; raises as `find`, also if there is no such file."""
        (found, file), grants = await asyncio.gather(
            self._store.file(lookup_id(job), part, n), self._grants.of(who.client, who.subject)
        )
        row = _granted(self._checked(who, job, found), grants)
        if file is None:
            raise not_available()
        return row, file

    def _checked(self, who: Principal, job: str, row: ExportRow | None) -> ExportRow:
        if row is None and (at := self._ids.unseen(who, job)) is not None:
            row = ExportRow.accepted(who.client, who.subject, at)
        row = owned(who, row)
        if row.expires_at is not None and row.expires_at.timestamp() <= self._now():
            raise not_available()
        check_covers(who, row.access)
        return row


def _granted(row: ExportRow, grants: tuple[Grant, ...]) -> ExportRow:
    """Give the row if its owner may still see all that the export may hold."""
    if row.access is not None and not still_granted(grants, row.access):
        raise not_available()
    return row


class Releases(Protocol):
    """What keeps files while they are read; see `sluice_storage.exports.downloads.Downloads`."""

    async def release(self, job: str) -> None:
        """Give the job's files back unless somebody reads them."""


class Polling:
    """Answers polls.

    Parameters
    ----------
    owners, store
        Whose exports are whose, and where they are read.
    dialect
        How manifests are written.
    commands, releases
        Puts commands on Kafka; keeps files while they are read.
    pacing
        How often a client polls.
    etas
        Tells when running exports will end.
    milliseconds
        Write `Retry-After` of a 202 in milliseconds.
    now
        The wall clock, Unix seconds.
    """

    def __init__(
        self,
        owners: Owners,
        store: ExportStore,
        dialect: Dialect,
        commands: Commands,
        releases: Releases,
        pacing: Pacing,
        *,
        hrefs: Hrefs,
        etas: Etas,
        milliseconds: bool,
        now: Callable[[], float],
    ) -> None:
        self._owners = owners
        self._store = store
        self._dialect = dialect
        self._commands = commands
        self._releases = releases
        self._pacing = pacing
        self._hrefs = hrefs
        self._etas = etas
        self._milliseconds = milliseconds
        self._now = now

    async def poll(self, who: Principal, job: str, page: int = 0) -> Told:
        """Tell how an export stands.

        Parameters
        ----------
        page
            Which page of a manifest that grows, from 0.

        Raises
        ------
        Refusal
            404: they have no such export; 429: they poll too often; 500: the export has failed.
        """
        pace = (who.client, who.subject, job, page)
        self._pacing.check(pace)
        row = await self._owners.find(who, job)
        # Every page but the first has an address only once the one before it was told.
        if page and (page >= _pages(row) or not _grows(row)):
            raise not_available()
        if row.outcome == JobOutcome.FAILED:
            raise refused(500, "exception", "The export has failed. Begin it again.")
        start, end = _span(row, page)
        if row.outcome is not None and row.expires_at is not None:
            self._pacing.forget(pace)
            expires = format_datetime(row.expires_at.astimezone(UTC), usegmt=True)
            headers = {"Expires": expires, "X-Progress": "completed 100%"}
            return Told(200, headers, await self._manifest(job, row, page))
        waiting = self._pacing.wait(pace, self._age(row))
        headers = {
            "Retry-After": str(waiting * 1000 if self._milliseconds else waiting),
            "X-Progress": _progress(row) + self._left(job, row),
        }
        whole = end is not None and row.planned and start < end <= row.sealed
        return Told(202, headers, await self._manifest(job, row, page) if _grows(row) and whole else None)

    async def delete(self, who: Principal, job: str) -> None:
        """Delete an export, for everyone to see at once; what it wrote follows.

        Raises
        ------
        Refusal
            404: they have no such export.
        """
        row = await self._owners.find_to_delete(who, job)
        if not await self._store.withdraw(job, datetime.fromtimestamp(self._now(), UTC)):
            raise not_available()
        try:
            # Who deletes it has most often just fetched its last file, and waits for nobody then.
            await self._releases.release(job)
            if row.outcome is None:
                await self._commands.cancel(job, CancelBulkExport(job=job))
            await self._commands.expire(ExpireJob(job=job, reason=ExpiryReason.DELETED))
        except (Problem, *TRANSIENT):
            # It is deleted: parts stop when they look, and the expirer finds it without being told.
            return

    def _left(self, job: str, row: ExportRow) -> str:
        return left(self._etas.told(job), self._now()) if row.planned else ""

    def _age(self, row: ExportRow) -> float:
        return 0.0 if row.submitted_at is None else self._now() - row.submitted_at.timestamp()

    async def _manifest(self, job: str, row: ExportRow, page: int) -> dict[str, Any] | None:
        if row.request is None or row.transaction_time is None:
            raise not_available()  # its content went between two statements
        start, end = _span(row, page)
        rows = await self._store.files(job, start, end)
        following = self._hrefs.export(job, page + 1) if _grows(row) and page + 1 < _pages(row) else None
        shown = Page(
            transaction_time=row.transaction_time,
            request=row.request.url,
            organized_by=row.request.organize_by,
            files=self._listed(job, rows),
            following=following,
        )
        return self._dialect.manifest(shown)

    def _listed(self, job: str, rows: Sequence[FileRow]) -> list[ListedFile]:
        names = {(row.part, row.n): row.name for row in rows}
        found = []
        for row in rows:
            after = names.get((row.part, row.n + 1)) if row.continues else None
            found.append(
                ListedFile(
                    kind=row.kind,
                    type=row.type,
                    url=self._hrefs.export_file(job, row.name),
                    count=row.count,
                    size=row.size,
                    sha256=row.sha256,
                    following=None if after is None else self._hrefs.export_file(job, after),
                )
            )
        return found


def _grows(row: ExportRow) -> bool:
    return row.request is not None and row.request.allow_partial


def _step(row: ExportRow) -> int:
    """Give how many parts a page tells of: from the plan alone, so that a page never changes."""
    return max(1, -(-row.parts // _PAGES))


def _pages(row: ExportRow) -> int:
    return max(1, -(-row.parts // _step(row)))


def _span(row: ExportRow, page: int) -> tuple[int, int | None]:
    """Give which of its parts, in the order in which they were sealed, a page tells of."""
    if not _grows(row):
        return 0, None
    step = _step(row)
    return page * step, min((page + 1) * step, row.parts)


def _progress(row: ExportRow) -> str:
    if not row.planned:
        return "scheduled"
    share = row.sealed * 100 // row.parts if row.parts else 100
    # All parts may be written a moment before the job is known to have ended.
    return f"started {min(share, 99)}%"
