"""Scrapes documents: a row of metadata for each item of a lot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from sluice_contracts.commands import AttachDocuments, ItemCommand, ScrapeDocuments
from sluice_contracts.errors import ItemError
from sluice_contracts.events import DocumentsScraped, Stage
from sluice_contracts.events import Scraped as ScrapedEvent
from sluice_contracts.ids import MOST_IN_LOT
from sluice_contracts.topics import DOCUMENT_ATTACH, DOCUMENT_SCRAPE
from sluice_fhir.scrape import Scraped, Scraper, open_document, with_callers
from sluice_fhir.sources import Source
from sluice_scraper.sources import JsonClient, SourceReader, SourceSchemas
from sluice_scraper.store import FetchedItem, Items, ScrapedItem
from sluice_security.failure import SourceFailure
from sluice_streaming.items import ItemReports, documents
from sluice_streaming.lots import Lots, lot
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.outcomes import Reject, Retry

# Once every retry tier was waited through, what still cannot be read counts as missing: a document is not
# kept from its reader for want of metadata.
SETTLE_AT = 1 + len(DOCUMENT_SCRAPE.retries)

_encode = msgspec.json.Encoder().encode
_decode_metadata: Callable[[bytes], dict[str, Any]] = msgspec.json.Decoder(dict[str, Any]).decode


class Sources(Protocol):
    """Where sources are looked up."""

    async def get(self, source_id: str) -> Source | None:
        """Give the enabled source of this id, None if there is none."""


class Scraping:
    """Handles `document.scrape`.

    Parameters
    ----------
    items
        Items, their documents and their metadata.
    sources
        Where sources are looked up.
    schemas
        Chooses a source's schema.
    client
        Reads from sources.
    scraper
        Makes the metadata; holds what a job's documents share.
    clock
        Unix seconds.
    at_once
        The most items of a lot that are worked on at the same time.

    Attributes
    ----------
    reports
        Says what becomes of items.
    """

    def __init__(
        self,
        items: Items,
        sources: Sources,
        schemas: SourceSchemas,
        client: JsonClient,
        scraper: Scraper,
        clock: Callable[[], float],
        *,
        at_once: int = MOST_IN_LOT,
    ) -> None:
        self._items = items
        self._sources = sources
        self._schemas = schemas
        self._client = client
        self._scraper = scraper
        self._clock = clock
        self.reports = ItemReports(Stage.SCRAPE, clock)
        self._one_large = asyncio.Semaphore(1)
        self._lots: Lots[ScrapeDocuments, FetchedItem, _Made] = Lots(
            items.find, self._make, self._conclude, _again, at_once=at_once
        )

    async def handle(self, delivery: Delivery[ScrapeDocuments]) -> Sequence[Message]:
        """Make and keep the items' metadata unless it is there already, and pass the items on.

        Raises
        ------
        Retry
            The source may answer better later.
        Reject
            There is no such item, or it was never fetched.
        Partly
            One of these holds of some of several items.
        Unavailable
            The database is away.
        """
        return await self._lots.handle(delivery)

    async def _make(
        self, delivery: Delivery[ScrapeDocuments], item: int, fetched: FetchedItem
    ) -> _Made | Message:
        about = ItemCommand(job=delivery.command.job, item=item)
        if fetched.cancelled:
            return self.reports.cancelled(about)
        if fetched.scraped is not None:
            metadata, warnings = fetched.scraped
            return _Made(len(_decode_metadata(metadata)), warnings)
        source = await self._sources.get(fetched.source)
        if source is None:
            return self.reports.failed(about, ItemError.SOURCE_UNKNOWN)
        try:
            made = await self._scrape(about, fetched, source, settle=delivery.attempt >= SETTLE_AT)
        except SourceFailure as failure:
            raise Retry(failure.code, failure.after, failure.status, counts=failure.counts) from None
        row = ScrapedItem(_encode(made.metadata), made.missing, made.schema)
        return _Made(len(made.metadata), len(made.missing), row)

    async def _scrape(
        self, about: ItemCommand, fetched: FetchedItem, source: Source, *, settle: bool
    ) -> Scraped:
        plan = await self._schemas.plan(source, settle=settle)
        if fetched.size is None:
            raise Reject(ItemError.INTERNAL)
        if fetched.body is not None:
            document = open_document(plan, fetched.body)
        else:
            # Large documents are in memory one at a time, and no longer than it takes to read them.
            async with self._one_large:
                body = await self._items.body(about.job, about.item)
                document = open_document(plan, body) if body is not None else None
                del body
        scraped = await self._scraper.scrape(
            plan,
            document,
            SourceReader(self._client, source),
            source.base_url,
            scope=(about.job, source.id, source.revision),
            settle=settle,
        )
        callers = _decode_metadata(fetched.metadata) if fetched.metadata else None
        return with_callers(scraped, callers)

    async def _conclude(self, job: str, made: Mapping[int, _Made]) -> Sequence[Message]:
        rows = [(item, it.row) for item, it in made.items() if it.row is not None]
        await self._items.keep(job, rows)
        told = [ScrapedEvent(item=item, keys=it.keys, warnings=it.warnings) for item, it in made.items()]
        return (
            lot(DOCUMENT_ATTACH, AttachDocuments(job=job, items=tuple(made))),
            documents(DocumentsScraped(job=job, at=self._clock(), items=tuple(told))),
        )


@dataclass(frozen=True, slots=True)
class _Made:
    """How many keys an item's metadata has and how many required ones it lacks; `row` if it is to be kept."""

    keys: int
    warnings: int
    row: ScrapedItem | None = None


def _again(job: str, item: int) -> Message:
    return lot(DOCUMENT_SCRAPE, ScrapeDocuments(job=job, items=(item,)), key=job)
