"""Fetches DocumentReferences: a GET and a row for each item of a lot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from sluice_contracts.commands import FetchDocuments, ItemCommand, ScrapeDocuments
from sluice_contracts.errors import ItemError
from sluice_contracts.events import DocumentsFetched, Fetched, Stage
from sluice_contracts.ids import MOST_IN_LOT
from sluice_contracts.topics import DOCUMENT_FETCH, DOCUMENT_SCRAPE
from sluice_fetcher.searching import DOCUMENT, Searching
from sluice_fetcher.store import Body, Documents, WaitingItem
from sluice_fhir.client import FetchedResource
from sluice_fhir.sources import Source, SourceLookup
from sluice_security.failure import SourceFailure
from sluice_security.http_budget import Hold, MemoryBudget
from sluice_streaming.items import ItemReports, documents
from sluice_streaming.lots import Lots, lot
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.outcomes import Retry


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
    at_once
        The most documents of a lot that are read at the same time.
    searching
        Reads several documents in one go.

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
        *,
        at_once: int = MOST_IN_LOT,
        searching: Searching | None = None,
    ) -> None:
        self._documents = documents
        self._sources = sources
        self._reader = reader
        self._budget = budget
        self._clock = clock
        self.reports = ItemReports(Stage.FETCH, clock)
        self._lots: Lots[FetchDocuments, WaitingItem, int | Body] = Lots(
            documents.find,
            self._fetch,
            self._conclude,
            _again,
            at_once=at_once,
            together=None if searching is None else _Together(sources, searching),
        )

    async def handle(self, delivery: Delivery[FetchDocuments]) -> Sequence[Message]:
        """Fetch the items' documents unless they are there already, and pass the items on.

        Raises
        ------
        Retry
            The source may answer better later.
        Reject
            There is no such item.
        Partly
            One of these holds of some of several items.
        Unavailable
            The database is away.
        """
        return await self._lots.handle(delivery)

    async def _fetch(
        self, delivery: Delivery[FetchDocuments], item: int, waiting: WaitingItem
    ) -> int | Body | Message:
        """Give the size of a document that is kept, or one that is to be."""
        about = ItemCommand(job=delivery.command.job, item=item)
        if waiting.cancelled:
            return self.reports.cancelled(about)
        if waiting.fetched is not None:
            return waiting.fetched
        source = await self._sources.get(waiting.source)
        if source is None:
            return self.reports.failed(about, ItemError.SOURCE_UNKNOWN)
        try:
            return await self._read(about, source, waiting.reference)
        except SourceFailure as failure:
            if failure.retry:
                raise Retry(failure.code, failure.after, failure.status, counts=failure.counts) from None
            return self.reports.failed(about, failure.code, failure.status)

    async def _read(self, about: ItemCommand, source: Source, reference: str) -> int | Body:
        with self._budget.hold() as hold:
            found = await self._reader.get_resource(source, reference, expected=DOCUMENT, hold=hold)
            body = Body(found.body, found.etag, found.version)
            if len(body.data) <= self._budget.free:
                return body
            # A large body has a share of memory until it is in the database. It must not wait there for the
            # others of its lot, which may wait for that share.
            await self._documents.keep(about.job, [(about.item, body)])
            return len(body.data)

    async def _conclude(self, job: str, made: Mapping[int, int | Body]) -> Sequence[Message]:
        await self._documents.keep(job, [(item, it) for item, it in made.items() if isinstance(it, Body)])
        told = [
            Fetched(item=item, size=len(it.data) if isinstance(it, Body) else it) for item, it in made.items()
        ]
        return (
            lot(DOCUMENT_SCRAPE, ScrapeDocuments(job=job, items=tuple(made)), key=job),
            documents(DocumentsFetched(job=job, at=self._clock(), items=tuple(told))),
        )


class _Together:
    """Finds a lot's documents by a search for each source; see `sluice_streaming.lots.Together`."""

    def __init__(self, sources: SourceLookup, searching: Searching) -> None:
        self._sources = sources
        self._searching = searching

    def groups(self, found: Mapping[int, WaitingItem | None]) -> Sequence[Sequence[int]]:
        by_source: defaultdict[str, list[int]] = defaultdict(list)
        for item, waiting in found.items():
            if waiting is not None and waiting.fetched is None and not waiting.cancelled:
                by_source[waiting.source].append(item)
        return [items for items in by_source.values() if len(items) > 1]

    async def work(
        self, _delivery: Delivery[FetchDocuments], found: Mapping[int, WaitingItem]
    ) -> Mapping[int, int | Body | Message]:
        source = await self._sources.get(next(iter(found.values())).source)
        if source is None:
            return {}
        references = {item: waiting.reference for item, waiting in found.items()}
        read = await self._searching.read(source, references)
        return {item: Body(it.body, it.etag, it.version) for item, it in read.items()}


def _again(job: str, item: int) -> Message:
    return lot(DOCUMENT_FETCH, FetchDocuments(job=job, items=(item,)))
