"""An answer to an outgoing request: its headers, then its body under the limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from sluice_contracts.errors import ItemError
from sluice_security.failure import SourceFailure
from sluice_security.guard import AddressRefusedError
from sluice_security.http_body import Inflater, Pace
from sluice_security.http_budget import Hold
from sluice_security.http_limits import HttpLimits

# What is worth reading only to keep a connection, and for how long.
_DRAINED = 64 * 1024
_DRAIN_SECONDS = 5.0


class GuardedResponse:
    """An answer whose headers are here and whose body is still to be read; close it when done.

    Use it as `async with await client.get(…) as response`.
    """

    __slots__ = ("_limits", "_response", "headers", "status", "url")

    def __init__(self, response: aiohttp.ClientResponse, url: URL, limits: HttpLimits) -> None:
        self._response = response
        self._limits = limits
        self.status: int = response.status
        self.headers: CIMultiDictProxy[str] = response.headers
        self.url = url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back; a body that was not read to its end closes it."""
        self._response.release()

    @property
    def content_type(self) -> str:
        """The media type in lower case without parameters, empty if there is none."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def content_length(self) -> int | None:
        """The body's length as sent (before decompression) in bytes, None if it is not announced."""
        return self._response.content_length

    @property
    def encoded(self) -> bool:
        """Whether the body comes compressed."""
        return self.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", "")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the body, decompressed, as it arrives.

        Raises
        ------
        SourceFailure
            The body breaks off, stalls, trickles, is damaged or grows beyond the decompression ratio.
        """
        body = self.arrived()
        if body is not None:
            if body:
                yield body
            return
        inflater = (
            Inflater(self.headers["Content-Encoding"], self._limits, self.status) if self.encoded else None
        )
        pace = Pace(self._limits)
        while chunk := await self._next(pace):
            if inflater is None:
                yield chunk
            else:
                for piece in inflater.feed(chunk):
                    yield piece
        if inflater is not None:
            inflater.finish()

    async def read(self, limit: int, too_large: ItemError, hold: Hold | None = None) -> bytes:
        """Give the whole body, decompressed.

        Parameters
        ----------
        limit
            The most bytes it may have.
        too_large
            The failure's code if it has more.
        hold
            The body's share of a memory budget, asked before a large body grows.

        Raises
        ------
        SourceFailure
            As `chunks`; and `too_large` as soon as the body is known to be longer than `limit` bytes.
        """
        length = self.content_length
        if length is not None and length > limit:
            raise SourceFailure(too_large, self.status)
        most = limit if length is None or self.encoded else length
        body = self.arrived()
        if body is not None:
            if len(body) > limit:
                raise SourceFailure(too_large, self.status)
            if hold is not None:
                await hold.grow(len(body), len(body))
            return body
        parts: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise SourceFailure(too_large, self.status)
            if hold is not None:
                await hold.grow(size, most)
            parts.append(chunk)
        if hold is not None:
            hold.keep(size)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def arrived(self) -> bytes | None:
        """Give the rest of the body if all of it is here already and is not compressed, else None.

        The common small body has come with its headers; it needs neither waiting nor watching.

        Raises
        ------
        SourceFailure
            The body broke off.
        """
        content = self._response.content
        if not content.is_eof() or self.encoded:
            return None
        try:
            return content.read_nowait()
        except (aiohttp.ClientError, OSError) as error:
            raise failure_of(error, self.status) from None

    async def drain(self) -> None:
        """Read a short body away, so that the connection can be used again; a long one is left."""
        length = self.content_length
        if length is None or length > _DRAINED:
            return
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self._response.content.read()
        except (aiohttp.ClientError, OSError):
            # Nothing of it is wanted; the connection is closed instead of kept.
            self._response.close()

    async def _next(self, pace: Pace) -> bytes:
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            chunk = await self._response.content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise failure_of(error, self.status) from None
        pace.took(loop.time() - start, len(chunk), self.status)
        return chunk


def failure_of(error: Exception, status: int | None) -> SourceFailure:
    """Say what an exception of the HTTP library means for an item."""
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, AddressRefusedError):
        return SourceFailure(ItemError.SOURCE_ADDRESS_REFUSED)
    if isinstance(error, (aiohttp.InvalidURL, ValueError)):
        return SourceFailure(ItemError.SOURCE_ADDRESS_REFUSED)
    if isinstance(error, TimeoutError):
        return SourceFailure(ItemError.SOURCE_TIMEOUT, status, retry=True)
    if isinstance(error, aiohttp.ClientResponseError):
        # Not HTTP, or headers beyond every measure: asking again gives the same.
        return SourceFailure(ItemError.SOURCE_REJECTED, status)
    return SourceFailure(ItemError.SOURCE_UNAVAILABLE, status, retry=True)
