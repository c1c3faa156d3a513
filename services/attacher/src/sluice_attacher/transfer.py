"""Brings an item's content into the object store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

from sluice_attacher.binary import JSON_TYPES, Unwrapping
from sluice_attacher.checks import Check
from sluice_attacher.documents import Chosen, Content, media_type
from sluice_attacher.inline import inline_pieces
from sluice_contracts.errors import ItemError
from sluice_fhir.sources import Source
from sluice_security.failure import SourceFailure
from sluice_storage.objects import Content as Stored

_PAGES = frozenset({"text/html", "application/xhtml+xml"})


class Answer(Protocol):
    """An attachment that began to arrive; `sluice_fhir.attachment.Attachment` is one."""

    status: int
    content_type: str
    content_length: int | None

    def whole(self) -> bytes | None:
        """Give all its bytes if they are here already, or raise `SourceFailure`; None: see `chunks`."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Give its bytes as they arrive, or raise `SourceFailure`."""


class Opener(Protocol):
    """Asks sources for attachments; `sluice_fhir.client.FhirClient` does."""

    def open_attachment(
        self, source: Source, url: str, *, accept: str = "*/*"
    ) -> AbstractAsyncContextManager[Answer]:
        """Prepare to stream an attachment; entering it sends the request. Raises `SourceFailure`."""


class Store(Protocol):
    """Where contents go; `sluice_storage.objects.ObjectStore` is it."""

    async def put(self, data: bytes) -> Stored:
        """Store a content that is in memory."""

    async def write(
        self, chunks: AsyncGenerator[bytes, None], *, large: asyncio.Semaphore | None = None
    ) -> Stored:
        """Store what `chunks` yields; an error it raises passes through and leaves nothing behind."""


class Brought(Struct, frozen=True, gc=False):
    """A content that is in the store, and its media type, None if nobody knows."""

    stored: Stored
    content_type: str | None


class Transfer:
    """Brings contents, inline or by URL, checked against what their document states.

    Parameters
    ----------
    opener
        Asks sources.
    store
        Takes contents.
    limit
        Bytes a content may have.
    large
        How many contents that do not fit in memory are under way at once in this process.
    """

    def __init__(self, opener: Opener, store: Store, *, limit: int, large: int) -> None:
        self._opener = opener
        self._store = store
        self._limit = limit
        self._large = asyncio.Semaphore(large)

    async def bring(self, source: Source, chosen: Chosen) -> Brought:
        """Bring the chosen content into the store.

        Raises
        ------
        SourceFailure
            It could not be had, is over the limit, or is not what its document states.
        ObjectStoreError
            The store failed.
        """
        content = chosen.content
        if content.size is not None and content.size > self._limit:
            raise SourceFailure(ItemError.ATTACHMENT_TOO_LARGE)
        if content.url is None:
            pieces = _inline(content.data)
            return Brought(await self._keep(pieces, content, None), content.content_type)
        accept = content.content_type or "*/*"
        async with self._opener.open_attachment(source, content.url, accept=accept) as answer:
            return await self._receive(source, content, answer)

    async def _receive(self, source: Source, content: Content, answer: Answer) -> Brought:
        came_as = media_type(answer.content_type)
        if came_as in _PAGES and content.content_type not in (None, *_PAGES):
            # A login or error page with status 200 must not become the patient's document.
            raise SourceFailure(ItemError.SOURCE_REJECTED, answer.status)
        if came_as not in JSON_TYPES:
            if None not in (answer.content_length, content.size) and answer.content_length != content.size:
                raise SourceFailure(ItemError.SIZE_MISMATCH, answer.status)
            kind = _permitted(source, content.content_type, came_as, answer.status)
            body = answer.whole()
            if body is not None:
                return Brought(await self._put(body, content, answer.status), kind)
            return Brought(await self._keep(answer.chunks(), content, answer.status), kind)
        unwrapping = Unwrapping(answer.status, fhir_wanted=content.content_type in JSON_TYPES)

        async def unwrapped() -> AsyncIterator[bytes]:
            async for chunk in unwrapping.chunks(answer.chunks()):
                yield chunk
            # What it is may be known only now; refused now, nothing of it is kept.
            _permitted(source, content.content_type, media_type(unwrapping.content_type or ""), answer.status)

        stored = await self._keep(unwrapped(), content, answer.status)
        inner = media_type(unwrapping.content_type or "")
        return Brought(stored, content.content_type or inner or came_as)

    async def _put(self, body: bytes, content: Content, status: int) -> Stored:
        # What is here already needs no stream.
        check = self._check(content, status)
        check.add(body)
        check.end()
        return await self._store.put(body)

    async def _keep(self, chunks: AsyncIterator[bytes], content: Content, status: int | None) -> Stored:
        passed = self._check(content, status).passing(chunks)
        return await self._store.write(passed, large=self._large)

    def _check(self, content: Content, status: int | None) -> Check:
        return Check(size=content.size, stated_hash=content.hash, limit=self._limit, status=status)


def _permitted(source: Source, stated: str | None, came_as: str | None, status: int) -> str | None:
    """Give the content's media type, for one whose document states none after asking the policy."""
    if stated is None and not source.permits(came_as or ""):
        raise SourceFailure(ItemError.CONTENT_REFUSED, status)
    return stated or came_as


async def _inline(data: memoryview) -> AsyncIterator[bytes]:
    for piece in inline_pieces(data):
        yield piece
        # A document may hold megabytes: others get their turn in between.
        await asyncio.sleep(0)
