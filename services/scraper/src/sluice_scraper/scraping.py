"""Scrapes documents: one command, one row of metadata."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from sluice_contracts.commands import AttachDocument, ScrapeDocument
from sluice_contracts.errors import ItemError
from sluice_contracts.events import DocumentScraped, Stage
from sluice_contracts.ids import item_key
from sluice_contracts.topics import DOCUMENT_ATTACH, DOCUMENT_SCRAPE
from sluice_fhir.scrape import Scraped, Scraper, open_document, with_callers
from sluice_fhir.sources import Source
from sluice_scraper.sources import JsonClient, SourceReader, SourceSchemas
from sluice_scraper.store import FetchedItem, Items, ScrapedItem
from sluice_security.failure import SourceFailure
from sluice_streaming.items import ItemReports, event, is_item
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
    ) -> None:
        self._items = items
        self._sources = sources
        self._schemas = schemas
        self._client = client
        self._scraper = scraper
        self._clock = clock
        self.reports = ItemReports(Stage.SCRAPE, clock)
        self._one_large = asyncio.Semaphore(1)

    async def handle(self, delivery: Delivery[ScrapeDocument]) -> Sequence[Message]:
        """Make and keep the item's metadata unless it is there already, and pass the item on.

        Raises
        ------
        Retry
            The source may answer better later.
        Reject
            There is no such item, or it was never fetched.
        Unavailable
            The database is away.
        """
        command = delivery.command
        job, item = command.job, command.item
        fetched = await self._items.find(job, item) if is_item(command) else None
        if fetched is None:
            raise Reject(ItemError.INTERNAL)
        if fetched.cancelled:
            return (self.reports.cancelled(command),)
        if fetched.scraped is not None:
            metadata, warnings = fetched.scraped
            return self._passed_on(command, len(_decode_metadata(metadata)), warnings)
        source = await self._sources.get(fetched.source)
        if source is None:
            return (self.reports.failed(command, ItemError.SOURCE_UNKNOWN),)
        try:
            made = await self._scrape(command, fetched, source, settle=delivery.attempt >= SETTLE_AT)
        except SourceFailure as failure:
            raise Retry(failure.code, failure.after, failure.status) from None
        row = ScrapedItem(_encode(made.metadata), made.missing, made.schema)
        await self._items.keep(job, item, row)
        return self._passed_on(command, len(made.metadata), len(made.missing))

    async def _scrape(
        self, command: ScrapeDocument, fetched: FetchedItem, source: Source, *, settle: bool
    ) -> Scraped:
        plan = await self._schemas.plan(source, settle=settle)
        if fetched.size is None:
            raise Reject(ItemError.INTERNAL)
        if fetched.body is not None:
            document = open_document(plan, fetched.body)
        else:
            # Large documents are in memory one at a time, and no longer than it takes to read them.
            async with self._one_large:
                body = await self._items.body(command.job, command.item)
                document = open_document(plan, body) if body is not None else None
                del body
        scraped = await self._scraper.scrape(
            plan,
            document,
            SourceReader(self._client, source),
            source.base_url,
            scope=(command.job, source.id, source.revision),
            settle=settle,
        )
        callers = _decode_metadata(fetched.metadata) if fetched.metadata else None
        return with_callers(scraped, callers)

    def _passed_on(self, command: ScrapeDocument, keys: int, warnings: int) -> tuple[Message, ...]:
        job, item = command.job, command.item
        scraped = DocumentScraped(job=job, at=self._clock(), item=item, keys=keys, warnings=warnings)
        attach = AttachDocument(job=job, item=item)
        return (Message(DOCUMENT_ATTACH, item_key(job, item), attach), event(scraped))
