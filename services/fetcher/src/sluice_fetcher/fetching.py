"""Fetches DocumentReferences: one command, one GET, one row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sluice_contracts.commands import FetchDocument, ScrapeDocument
from sluice_contracts.errors import ItemError
from sluice_contracts.events import DocumentFetched, Stage
from sluice_contracts.topics import DOCUMENT_SCRAPE
from sluice_fetcher.store import Body, Documents
from sluice_fhir.client import FetchedResource
from sluice_fhir.sources import Source, SourceLookup
from sluice_security.failure import SourceFailure
from sluice_security.http_budget import Hold, MemoryBudget
from sluice_streaming.items import ItemReports, event, is_item
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.outcomes import Reject, Retry

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

    Attributes
    ----------
    reports
        Says what becomes of items.
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
        self.reports = ItemReports(Stage.FETCH, clock)

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
        waiting = await self._documents.find(job, item) if is_item(command) else None
        if waiting is None:
            raise Reject(ItemError.INTERNAL)
        if waiting.cancelled:
            return (self.reports.cancelled(command),)
        size = waiting.fetched
        if size is None:
            source = await self._sources.get(waiting.source)
            if source is None:
                return (self.reports.failed(command, ItemError.SOURCE_UNKNOWN),)
            try:
                size = await self._fetch(command, source, waiting.reference)
            except SourceFailure as failure:
                if failure.retry:
                    raise Retry(failure.code, failure.after, failure.status) from None
                return (self.reports.failed(command, failure.code, failure.status),)
        return (
            Message(DOCUMENT_SCRAPE, job, ScrapeDocument(job=job, item=item)),
            event(DocumentFetched(job=job, at=self._clock(), item=item, size=size)),
        )

    async def _fetch(self, command: FetchDocument, source: Source, reference: str) -> int:
        # The share of memory is held until the body is in the database, not only until it has been read.
        with self._budget.hold() as hold:
            found = await self._reader.get_resource(source, reference, expected=DOCUMENT, hold=hold)
            body = Body(found.body, found.etag, found.version)
            await self._documents.keep(command.job, command.item, body)
            return len(found.body)
