"""Attaches items: one command, one content in the object store, one file in its folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from sluice_attacher.documents import Chosen, choose
from sluice_attacher.filenames import file_name
from sluice_attacher.store import Items, ScrapedItem
from sluice_attacher.transfer import Brought, Transfer
from sluice_contracts.commands import AttachDocument
from sluice_contracts.errors import ItemError
from sluice_contracts.events import DocumentAttached, Stage
from sluice_fhir.sources import Source, SourceLookup
from sluice_security.failure import SourceFailure
from sluice_storage.catalogue.attachment import Attached, Attachment, Refusal
from sluice_storage.objects import ObjectStoreError
from sluice_streaming.items import ItemReports, event, is_item
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.outcomes import Reject, Retry, Unavailable

# How often a content that was removed between its storing and its attaching is brought again at once.
_TRIES = 3


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
    ) -> None:
        self._items = items
        self._sources = sources
        self._transfer = transfer
        self._clock = clock
        self.reports = ItemReports(Stage.ATTACH, clock)
        self._large = asyncio.Semaphore(large_documents)

    async def handle(self, delivery: Delivery[AttachDocument]) -> Sequence[Message]:
        """Attach the item unless that happened before, and say what became of it.

        Raises
        ------
        Retry
            The source may answer better later.
        Reject
            There is no such item, or nothing of it.
        Unavailable
            The database or the object store is away.
        """
        command = delivery.command
        found = await self._items.find(command.job, command.item) if is_item(command) else None
        if found is None:
            raise Reject(ItemError.INTERNAL)
        if found.attached is not None:
            return (self._attached(command, found.attached),)
        if found.cancelled:
            return (self.reports.cancelled(command),)
        try:
            outcome = await self._attach(command, found)
        except SourceFailure as failure:
            if failure.retry:
                raise Retry(failure.code, failure.after, failure.status) from None
            return (self.reports.failed(command, failure.code, failure.status),)
        except ObjectStoreError:
            raise Unavailable("objects") from None
        return (self._told(command, outcome),)

    async def _attach(self, command: AttachDocument, found: ScrapedItem) -> Attached | Refusal:
        source = await self._sources.get(found.source)
        if source is None:
            raise SourceFailure(ItemError.SOURCE_UNKNOWN)
        if found.size is None or found.metadata is None:
            raise Reject(ItemError.INTERNAL)
        for _ in range(_TRIES):
            chosen, brought = await self._bring(command, found, source)
            attachment = Attachment(
                job=command.job,
                item=command.item,
                source=found.source,
                folder=found.folder,
                name=file_name(found.name, chosen, brought.content_type),
                rule=found.rule,
                stored=brought.stored,
                content_type=brought.content_type,
                metadata=_storable(found.metadata),
                tags=found.tags,
                others=chosen.others,
            )
            outcome = await self._items.attach(attachment)
            if outcome is not Refusal.CONTENT_GONE:
                return outcome
        raise Retry(ItemError.INTERNAL)

    async def _bring(
        self, command: AttachDocument, found: ScrapedItem, source: Source
    ) -> tuple[Chosen, Brought]:
        if found.body is not None:
            chosen = choose(found.body, source.permits)
            return chosen, await self._transfer.bring(source, chosen)
        async with self._large:
            body = await self._items.body(command.job, command.item)
            if body is None:
                raise Reject(ItemError.INTERNAL)
            chosen = choose(body, source.permits)
            if chosen.content.url is None:
                return chosen, await self._transfer.bring(source, chosen)
            del body
        # What comes by its URL does not need the document any more, and may take long.
        return chosen, await self._transfer.bring(source, chosen)

    def _told(self, command: AttachDocument, outcome: Attached | Refusal) -> Message:
        if isinstance(outcome, Attached):
            return self._attached(command, outcome)
        if outcome is Refusal.CANCELLED:
            return self.reports.cancelled(command)
        return self.reports.failed(command, ItemError.DESTINATION_GONE)

    def _attached(self, command: AttachDocument, attached: Attached) -> Message:
        return event(
            DocumentAttached(
                job=command.job,
                at=self._clock(),
                item=command.item,
                file=attached.entry,
                outcome=attached.outcome,
                size=attached.size,
                others=attached.others,
            )
        )


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
