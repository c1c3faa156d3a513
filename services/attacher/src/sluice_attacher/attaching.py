"""Attaches items: one command, one content in the object store, one file in its folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec

from sluice_attacher.documents import Chosen, choose
from sluice_attacher.filenames import file_name
from sluice_attacher.store import Items, ScrapedItem
from sluice_attacher.transfer import Brought, Transfer
from sluice_contracts.commands import AttachDocument
from sluice_contracts.errors import ItemError
from sluice_contracts.events import (
    DocumentAttached,
    ItemCancelled,
    ItemEvent,
    ItemFailed,
    ItemRetrying,
    Stage,
)
from sluice_contracts.topics import JOBS_EVENTS
from sluice_fhir.sources import Source, SourceLookup
from sluice_security.failure import SourceFailure
from sluice_storage.catalogue.attachment import Attached, Attachment, Refusal
from sluice_storage.objects import ObjectStoreError
from sluice_streaming.messages import Delivery, Message, Record
from sluice_streaming.outcomes import Failure, Reject, Retry, Unavailable

_CODES = frozenset(code.value for code in ItemError)
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
        found = await self._items.find(command.job, command.item) if _is_item(command) else None
        if found is None:
            raise Reject(ItemError.INTERNAL)
        if found.attached is not None:
            return (self._attached(command, found.attached),)
        if found.cancelled:
            return (self._cancelled(command),)
        try:
            outcome = await self._attach(command, found)
        except SourceFailure as failure:
            if failure.retry:
                raise Retry(failure.code, failure.after) from None
            return (self._failed(command, failure.code, failure.status),)
        except ObjectStoreError:
            raise Unavailable("objects") from None
        return (self._told(command, outcome),)

    def on_dead(self, subject: Delivery[AttachDocument] | Record, failure: Failure) -> Sequence[Message]:
        """Fail the item of a command that is given up."""
        command = subject.command if isinstance(subject, Delivery) else _command_of_key(subject.key)
        return () if command is None else (self._failed(command, _known(failure.code)),)

    def on_retry(self, delivery: Delivery[AttachDocument], failure: Failure) -> Sequence[Message]:
        """Say that the item waits to be tried again."""
        if failure.due is None:
            return ()
        command = delivery.command
        retrying = ItemRetrying(
            job=command.job,
            at=self._clock(),
            item=command.item,
            stage=Stage.ATTACH,
            code=_known(failure.code),
            attempt=failure.attempt,
            due=failure.due,
        )
        return (_event(retrying),)

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
            return self._cancelled(command)
        return self._failed(command, ItemError.DESTINATION_GONE)

    def _attached(self, command: AttachDocument, attached: Attached) -> Message:
        return _event(
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

    def _cancelled(self, command: AttachDocument) -> Message:
        return _event(ItemCancelled(job=command.job, at=self._clock(), item=command.item))

    def _failed(self, command: AttachDocument, code: str, status: int | None = None) -> Message:
        return _event(
            ItemFailed(
                job=command.job,
                at=self._clock(),
                item=command.item,
                stage=Stage.ATTACH,
                code=code,
                source_status=status,
            )
        )


def _event(body: ItemEvent) -> Message:
    return Message(JOBS_EVENTS, body.job, body)


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


def _known(code: str) -> str:
    return code if code in _CODES else ItemError.INTERNAL


def _is_item(command: AttachDocument) -> bool:
    """Tell whether an item can be called so; what cannot must not reach a statement with others' rows."""
    try:
        return str(UUID(command.job)) == command.job and 0 <= command.item < 2**31
    except ValueError:
        return False


def _command_of_key(key: bytes | None) -> AttachDocument | None:
    """Give what a command that cannot be decoded was about, by its key (`job/item`)."""
    job, _, item = (key or b"").decode("ascii", "replace").rpartition("/")
    if not (item.isdigit() and len(item) < 10):
        return None
    command = AttachDocument(job=job, item=int(item))
    return command if _is_item(command) else None
