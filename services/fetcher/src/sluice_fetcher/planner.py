"""Plans import jobs: one command for the whole job becomes commands about a lot of its items each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from sluice_contracts.commands import (
    CancelDocumentImport,
    DocumentImportCommand,
    FetchDocuments,
    ItemCommand,
    StartDocumentImport,
)
from sluice_contracts.errors import ItemError
from sluice_contracts.events import JobCancelled, JobKind, JobPlanned, Stage
from sluice_contracts.ids import is_job_id
from sluice_contracts.topics import DOCUMENT_FETCH
from sluice_fetcher.store import Jobs
from sluice_streaming.items import ItemReports, event
from sluice_streaming.lots import lot
from sluice_streaming.messages import Delivery, Message, Record
from sluice_streaming.outcomes import Failure, Reject
from sluice_streaming.salvage import SalvagedStart, salvaged

LOT = 50
"""How many items one command is about. A record costs the broker and those who read it most of a millisecond
in all; a job of a hundred still spreads over two processes, and jobs spread anyway."""


class Planner:
    """Handles `jobs.document-import`.

    Parameters
    ----------
    jobs
        Where jobs and their items are kept.
    clock
        Unix seconds.
    """

    def __init__(self, jobs: Jobs, clock: Callable[[], float]) -> None:
        self._jobs = jobs
        self._clock = clock
        self._reports = ItemReports(Stage.PLAN, clock)

    async def handle(self, delivery: Delivery[DocumentImportCommand]) -> Sequence[Message]:
        """Keep the job and give its lots' commands, or mark it cancelled.

        A job planned twice gives the same commands again, and each item is fetched once.

        Raises
        ------
        Reject
            The job's id is not one.
        Unavailable
            The database is away.
        """
        command = delivery.command
        if not is_job_id(command.job):
            raise Reject(ItemError.INTERNAL)
        if isinstance(command, CancelDocumentImport):
            await self._jobs.cancel(command.job)
            return (event(JobCancelled(job=command.job, at=self._clock())),)
        await self._jobs.plan(command)
        count = len(command.items)
        fetches = [
            lot(
                DOCUMENT_FETCH,
                FetchDocuments(job=command.job, items=tuple(range(first, min(first + LOT, count)))),
            )
            for first in range(0, count, LOT)
        ]
        # The event is published before the commands, so that it is most often folded before theirs.
        return (event(self._planned(command)), *fetches)

    def on_dead(
        self, subject: Delivery[DocumentImportCommand] | Record, failure: Failure
    ) -> Sequence[Message]:
        """End a job that could not be planned: every item of it failed."""
        command = subject.command if isinstance(subject, Delivery) else salvaged(subject, _Salvaged)
        if isinstance(command, CancelDocumentImport):
            return (event(JobCancelled(job=command.job, at=self._clock())),)
        if command is None or not is_job_id(command.job):
            return ()
        failed = [
            self._reports.failed(ItemCommand(job=command.job, item=number), failure.code)
            for number in range(len(command.items))
        ]
        return (event(self._planned(command)), *failed)

    def _planned(self, command: StartDocumentImport | _Salvaged) -> JobPlanned:
        return JobPlanned(
            job=command.job,
            at=self._clock(),
            kind=JobKind.DOCUMENT_IMPORT,
            client=command.client,
            subject=command.subject,
            submitted_at=command.submitted_at,
            items=len(command.items),
            **_sources(command),
        )


def _sources(command: StartDocumentImport | _Salvaged) -> dict[str, tuple[Any, ...]]:
    """Say which servers the items are on; of a start that cannot be decoded nobody knows."""
    if not isinstance(command, StartDocumentImport):
        return {}
    known = tuple(dict.fromkeys(item.source for item in command.items))
    if len(known) <= 1:
        return {"sources": known}
    return {"sources": known, "item_sources": tuple(known.index(item.source) for item in command.items)}


class _Salvaged(SalvagedStart):
    items: tuple[msgspec.Raw, ...]
