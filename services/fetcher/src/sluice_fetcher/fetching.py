"""Fetches DocumentReferences: one command, one GET, one row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sluice_contracts.commands import FetchDocument, ScrapeDocument
from sluice_contracts.errors import ItemError
from sluice_contracts.events import (
    DocumentFetched,
    ItemCancelled,
    ItemEvent,
    ItemFailed,
    ItemRetrying,
    Stage,
)
from sluice_contracts.topics import DOCUMENT_SCRAPE, JOBS_EVENTS
from sluice_fetcher.planner import is_job_id, known_code
from sluice_fetcher.store import Body, Documents
from sluice_fhir.client import FetchedResource
from sluice_fhir.sources import Source, SourceLookup
from sluice_security.failure import SourceFailure
from sluice_security.http_budget import Hold, MemoryBudget
from sluice_streaming.messages import Delivery, Message, Record
from sluice_streaming.outcomes import Failure, Reject, Retry

DOCUMENT = "DocumentReference"


class Reader(Protocol):
    """Reads resources from sources; `sluice_fhir.client.FhirClient` does."""

    async def get_resource(
        self, source: Source, reference: str, *, expected: str | None = None, hold: Hold | None = None
    ) -> FetchedResource:
        """Read one resource or raise `SourceFailure`."""


class Fetching:
    """Handles `document.fetch`.

    Parameters
    ----------
    documents
        Items, and where bodies are kept.
    sources
        Where sources are looked up.
    reader
        Reads from them.
    budget
        Bounds the bytes of bodies in flight.
    clock
        Unix seconds.
    """

    def __init__(
        self,
        documents: Documents,
        sources: SourceLookup,
        reader: Reader,
        budget: MemoryBudget,
        clock: Callable[[], float],
    ) -> None:
        self._documents = documents
        self._sources = sources
        self._reader = reader
        self._budget = budget
        self._clock = clock

    async def handle(self, delivery: Delivery[FetchDocument]) -> Sequence[Message]:
        """Fetch the item's document unless it is there already, and pass the item on.

        Raises
        ------
        Retry
            The source may answer better later.
        Reject
            There is no such item.
        Unavailable
            The database is away.
        """
        command = delivery.command
        job, item = command.job, command.item
        waiting = await self._documents.find(job, item) if is_job_id(job) and item >= 0 else None
        if waiting is None:
            raise Reject(ItemError.INTERNAL)
        if waiting.cancelled:
            return (_event(ItemCancelled(job=job, at=self._clock(), item=item)),)
        size = waiting.fetched
        if size is None:
            source = await self._sources.get(waiting.source)
            if source is None:
                return (self._failed(command, ItemError.SOURCE_UNKNOWN),)
            try:
                size = await self._fetch(command, source, waiting.reference)
            except SourceFailure as failure:
                if failure.retry:
                    raise Retry(failure.code, failure.after) from None
                return (self._failed(command, failure.code, failure.status),)
        return (
            Message(DOCUMENT_SCRAPE, job, ScrapeDocument(job=job, item=item)),
            _event(DocumentFetched(job=job, at=self._clock(), item=item, size=size)),
        )

    def on_dead(self, subject: Delivery[FetchDocument] | Record, failure: Failure) -> Sequence[Message]:
        """Fail the item of a command that is given up."""
        if isinstance(subject, Delivery):
            return (self._failed(subject.command, known_code(failure.code)),)
        command = _command_of_key(subject.key)
        return (self._failed(command, known_code(failure.code)),) if command is not None else ()

    def on_retry(self, delivery: Delivery[FetchDocument], failure: Failure) -> Sequence[Message]:
        """Say that the item waits to be tried again."""
        command = delivery.command
        if failure.due is None:
            return ()
        return (
            _event(
                ItemRetrying(
                    job=command.job,
                    at=self._clock(),
                    item=command.item,
                    stage=Stage.FETCH,
                    code=known_code(failure.code),
                    attempt=failure.attempt,
                    due=failure.due,
                )
            ),
        )

    async def _fetch(self, command: FetchDocument, source: Source, reference: str) -> int:
        # The share of memory is held until the body is in the database, not only until it has been read.
        with self._budget.hold() as hold:
            found = await self._reader.get_resource(source, reference, expected=DOCUMENT, hold=hold)
            body = Body(found.body, found.etag, found.version)
            await self._documents.keep(command.job, command.item, body)
            return len(found.body)

    def _failed(self, command: FetchDocument, code: str, status: int | None = None) -> Message:
        return _event(
            ItemFailed(
                job=command.job,
                at=self._clock(),
                item=command.item,
                stage=Stage.FETCH,
                code=code,
                source_status=status,
            )
        )


def _event(body: ItemEvent) -> Message:
    return Message(JOBS_EVENTS, body.job, body)


def _command_of_key(key: bytes | None) -> FetchDocument | None:
    """Give what a command that cannot be decoded was about, by its key (`job/item`)."""
    job, _, item = (key or b"").decode("ascii", "replace").rpartition("/")
    if not (is_job_id(job) and item.isdigit() and len(item) < 10):
        return None
    return FetchDocument(job=job, item=int(item))
