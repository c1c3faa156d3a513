"""Attachments as streams, taken up again where a connection broke."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

from sluice_contracts.errors import ItemError
from sluice_fhir.outcomes import Asked
from sluice_fhir.source_calls import Call, SourceCalls
from sluice_fhir.sources import Source
from sluice_security.failure import SourceFailure
from sluice_security.http import NONE, GuardedResponse

_PARTIAL = 206
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(?:(\d{1,18})|\*)")
# How often a broken stream is taken up again: in all, and in a row without a byte gained.
_RESUMES = 20
_BARREN = 3
_FIRST_PAUSE = 0.2


class Attachment:
    """One attachment: `async with client.open_attachment(…) as attachment`, then `chunks()` once.

    Attributes
    ----------
    status
        The HTTP status of the first answer.
    content_type
        Its media type in lower case without parameters, empty if the source gave none.
    content_length
        Its length in bytes, None if the source did not announce it.
    etag
        Its ETag, as it stands.
    """

    def __init__(
        self,
        calls: SourceCalls,
        source: Source,
        url: str,
        *,
        accept: str,
        limit: int,
        submitted: Mapping[str, str] = NONE,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._calls = calls
        self._source = source
        self._url = url
        # Compressed answers have no length to compare and no ranges to resume.
        self._headers = {"Accept": accept, "Accept-Encoding": "identity"}
        self._limit = limit
        self._submitted = submitted
        self._sleep = sleep
        self._call: Call | None = None
        self._response: GuardedResponse | None = None
        self._received = 0
        self._skip = 0
        self.status = 0
        self.content_type = ""
        self.content_length: int | None = None
        self.etag: str | None = None
        self._validator: str | None = None

    async def __aenter__(self) -> Self:
        """Ask for it.

        Raises
        ------
        SourceFailure
            It could not be had; `ATTACHMENT_TOO_LARGE` if its announced length is over the limit.
        """
        response = await self._ask({})
        self.status = response.status
        self.content_type = response.content_type
        self.content_length = None if response.encoded else response.content_length
        self.etag = response.headers.get("ETag")
        if not response.encoded:
            self._validator = _validator(response)
        if response.status == _PARTIAL:
            # A part nobody asked for cannot be told from the whole.
            await self._hang_up()
            raise SourceFailure(ItemError.SOURCE_REJECTED, _PARTIAL)
        if self.content_length is not None and self.content_length > self._limit:
            await self._hang_up()
            raise SourceFailure(ItemError.ATTACHMENT_TOO_LARGE, self.status)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._hang_up()

    def whole(self) -> bytes | None:
        """Give all of it if all of it is here already, as most small ones are; None: it comes by `chunks`.

        It is no longer than what is buffered of an answer (`HttpLimits.read_buffer` and as much again).

        Raises
        ------
        SourceFailure
            `ATTACHMENT_TOO_LARGE`.
        """
        response = self._response
        if self._received or response is None or self.content_length is None:
            return None
        body = response.arrived()
        return None if body is None else self._counted(body)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give its bytes as they arrive; a broken connection is taken up again with Range and If-Range.

        Raises
        ------
        SourceFailure
            `ATTACHMENT_TOO_LARGE`; `ATTACHMENT_TRUNCATED` when it keeps ending early, or cannot be taken up
            again because the source offers no validator or no ranges; or what ended the last attempt.
        """
        resumes = barren = 0
        while True:
            before = self._received
            try:
                response = self._response or await self._resume()
                async for chunk in response.chunks():
                    if fresh := self._counted(chunk):
                        yield fresh
                if self.content_length is None or self._received >= self.content_length:
                    return
                raise SourceFailure(ItemError.ATTACHMENT_TRUNCATED, self.status, retry=True)
            except SourceFailure as failure:
                if not failure.retry or failure.code is ItemError.SOURCE_THROTTLED:
                    raise
                barren = 0 if self._received > before else barren + 1
                resumes += 1
                if self._validator is None or resumes > _RESUMES or barren > _BARREN:
                    raise _truncated(failure) from None
            await self._hang_up()
            await self._sleep(_FIRST_PAUSE * 2**barren)

    def _counted(self, chunk: bytes) -> bytes:
        """Give what is new of a chunk, counting it against the limit."""
        if self._skip:
            skipped = min(self._skip, len(chunk))
            self._skip -= skipped
            chunk = chunk[skipped:]
        self._received += len(chunk)
        if self._received > self._limit:
            raise SourceFailure(ItemError.ATTACHMENT_TOO_LARGE, self.status)
        return chunk

    async def _resume(self) -> GuardedResponse:
        if self._validator is None:
            raise SourceFailure(ItemError.ATTACHMENT_TRUNCATED, self.status, retry=True)
        # If-Range: the rest if it is still the same, otherwise the whole (RFC 9110 section 13.1.5).
        response = await self._ask({"Range": f"bytes={self._received}-", "If-Range": self._validator})
        if response.encoded or _validator(response) not in (None, self._validator):
            self._validator = None
            raise SourceFailure(ItemError.ATTACHMENT_TRUNCATED, response.status, retry=True)
        if response.status != _PARTIAL:
            self._skip = self._received
            return response
        given = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if (
            given is None
            or int(given[1]) != self._received
            or (given[3] and self.content_length not in (None, int(given[3])))
        ):
            self._validator = None
            raise SourceFailure(ItemError.ATTACHMENT_TRUNCATED, response.status, retry=True)
        return response

    async def _ask(self, more: dict[str, str]) -> GuardedResponse:
        self._skip = 0
        headers = {**self._headers, **more}
        call = self._calls.call(self._source, self._url, headers, Asked.ATTACHMENT, submitted=self._submitted)
        self._response = await call.__aenter__()
        self._call = call
        return self._response

    async def _hang_up(self) -> None:
        if self._call is not None:
            await self._call.__aexit__(None, None, None)
        self._call = self._response = None


def _truncated(failure: SourceFailure) -> SourceFailure:
    if failure.code is ItemError.SOURCE_TIMEOUT:
        return failure
    return failure.called(ItemError.ATTACHMENT_TRUNCATED)


def _validator(response: GuardedResponse) -> str | None:
    """Give what proves that two answers are parts of one thing: a strong ETag, else the time of change."""
    etag = response.headers.get("ETag")
    if etag is not None and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")
