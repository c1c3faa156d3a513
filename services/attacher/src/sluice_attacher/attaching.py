"""Attaches items: a content in the object store and a file in its folder for each item of a lot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from sluice_attacher.documents import Chosen, choose
from sluice_attacher.filenames import file_name
from sluice_attacher.store import Items, Outcome, ScrapedItem
from sluice_attacher.transfer import Brought, Transfer
from sluice_contracts.commands import AttachDocuments, ItemCommand
from sluice_contracts.errors import ItemError
from sluice_contracts.events import Attached as AttachedEvent
from sluice_contracts.events import DocumentsAttached, Stage
from sluice_contracts.ids import MOST_IN_LOT
from sluice_contracts.topics import DOCUMENT_ATTACH
from sluice_fhir.sources import Source, SourceLookup
from sluice_security.failure import SourceFailure
from sluice_storage.catalogue.attachment import Attached, Attachment, Refusal
from sluice_storage.objects import ObjectStoreError
from sluice_streaming.items import ItemReports, documents
from sluice_streaming.lots import Lots, lot
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.outcomes import Reject, Retry, Unavailable


class AttachingItems:
    """Handles `document.attach`.

    Parameters
    ----------
    items
        Items, and the files they become.
    sources
        Where sources are looked up.
    transfer
        Brings contents.
    large_documents
        How many documents too large to be read with others are held in memory at once.
    clock
        Unix seconds.
    at_once
        The most items of a lot that are worked on at the same time.
    time_limit
        Seconds that one item may take.

    Attributes
    ----------
    reports
        Says what becomes of items.
    """

    def __init__(
        self,
        items: Items,
        sources: SourceLookup,
        transfer: Transfer,
        clock: Callable[[], float],
        *,
        large_documents: int = 1,
        at_once: int = MOST_IN_LOT,
        time_limit: float = 3600.0,
    ) -> None:
        self._items = items
        self._sources = sources
        self._transfer = transfer
        self._clock = clock
        self.reports = ItemReports(Stage.ATTACH, clock)
        self._large = asyncio.Semaphore(large_documents)
        self._lots: Lots[AttachDocuments, ScrapedItem, _Ready | Attached] = Lots(
            items.find, self._prepare, self._conclude, _again, at_once=at_once, time_limit=time_limit
        )
        self.time_limit = time_limit

    async def handle(self, delivery: Delivery[AttachDocuments]) -> Sequence[Message]:
        """Attach the items unless that happened before, and say what became of them.

        Raises
        ------
        Retry
            The source may answer better later.
        Reject
            There is no such item, or nothing of it.
        Partly
            One of these holds of some of several items.
        Unavailable
            The database or the object store is away.
        """
        return await self._lots.handle(delivery)

    async def _prepare(
        self, delivery: Delivery[AttachDocuments], item: int, found: ScrapedItem
    ) -> _Ready | Attached | Message:
        about = ItemCommand(job=delivery.command.job, item=item)
        if found.attached is not None:
            return found.attached
        if found.cancelled:
            return self.reports.cancelled(about)
        made = await self._try(about, found)
        return made if isinstance(made, Message) else _Ready(about, found, made)

    async def _try(self, about: ItemCommand, found: ScrapedItem) -> Attachment | Message:
        try:
            return await self._stored(about, found)
        except SourceFailure as failure:
            if failure.retry:
                raise Retry(failure.code, failure.after, failure.status, counts=failure.counts) from None
            return self.reports.failed(about, failure.code, failure.status)
        except ObjectStoreError:
            raise Unavailable("objects") from None

    async def _stored(self, about: ItemCommand, found: ScrapedItem) -> Attachment:
        """Bring the item's content into the object store and give what is to be attached."""
        source = await self._sources.get(found.source)
        if source is None:
            raise SourceFailure(ItemError.SOURCE_UNKNOWN)
        if found.size is None or found.metadata is None:
            raise Reject(ItemError.INTERNAL)
        chosen, brought = await self._bring(about, found, source)
        return Attachment(
            job=about.job,
            item=about.item,
            source=found.source,
            folder=found.folder,
            name=file_name(found.name, chosen, brought.content_type),
            rule=found.rule,
            stored=brought.stored,
            content_type=brought.content_type,
            metadata=_storable(found.metadata),
            tags=found.tags,
            others=chosen.others,
            etag=found.etag,
            version=found.version,
        )

    async def _conclude(self, job: str, made: Mapping[int, _Ready | Attached]) -> Sequence[Message]:
        messages: list[Message] = []
        attached = {item: it for item, it in made.items() if isinstance(it, Attached)}
        ready = {item: it for item, it in made.items() if isinstance(it, _Ready)}
        outcomes = await self._items.attach([it.attachment for it in ready.values()])
        for (item, it), outcome in zip(ready.items(), outcomes, strict=True):
            end = self._end(it, outcome)
            if isinstance(end, Attached):
                attached[item] = end
            else:
                messages.append(end)
        if attached:
            told = tuple([_told(item, attached[item]) for item in sorted(attached)])
            messages.append(documents(DocumentsAttached(job=job, at=self._clock(), items=told)))
        return messages

    def _end(self, ready: _Ready, outcome: Outcome) -> Attached | Message:
        """Give what became of an item."""
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is Refusal.CANCELLED:
            return self.reports.cancelled(ready.about)
        if outcome is Refusal.DESTINATION_GONE:
            return self.reports.failed(ready.about, ItemError.DESTINATION_GONE)
        return outcome

    async def _bring(self, about: ItemCommand, found: ScrapedItem, source: Source) -> tuple[Chosen, Brought]:
        if found.body is not None:
            chosen = choose(found.body, source.permits)
            return chosen, await self._transfer.bring(source, chosen)
        async with self._large:
            body = await self._items.body(about.job, about.item)
            if body is None:
                raise Reject(ItemError.INTERNAL)
            chosen = choose(body, source.permits)
            if chosen.content.url is None:
                return chosen, await self._transfer.bring(source, chosen)
            del body
        # What comes by its URL does not need the document any more, and may take long.
        return chosen, await self._transfer.bring(source, chosen)


class _Ready(Struct, frozen=True, gc=False):
    """An item whose content is in the object store."""

    about: ItemCommand
    found: ScrapedItem
    attachment: Attachment


def _told(item: int, attached: Attached) -> AttachedEvent:
    return AttachedEvent(
        item=item,
        file=attached.entry,
        outcome=attached.outcome,
        size=attached.size,
        others=attached.others,
    )


def _again(job: str, item: int) -> Message:
    return lot(DOCUMENT_ATTACH, AttachDocuments(job=job, items=(item,)))


def _storable(metadata: bytes) -> str:
    r"""Give the metadata as jsonb takes it: without the character U+0000, which it cannot hold."""
    if b"\\u0000" not in metadata:
        return metadata.decode()
    return msgspec.json.encode(_without_nul(msgspec.json.decode(metadata))).decode()


def _without_nul(value: object) -> object:
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, list):
        return [_without_nul(each) for each in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(each) for key, each in value.items()}
    return value
