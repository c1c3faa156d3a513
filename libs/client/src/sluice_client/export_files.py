"""Downloading one file of an export: streamed, taken up where it broke off, and checked as it comes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from sluice_client.downloads import begins_at
from sluice_client.errors import ApiError, DownloadError
from sluice_client.export_folder import part_of
from sluice_client.manifests import ExportFile
from sluice_client.transport import Transport, refusal, retry_after, unreachable

_BLOCK = 1024 * 1024
_MOST_WRONG = 2
_AGAIN = frozenset({429, 500, 502, 503, 504})

Received = Callable[[int], None]
"""Told how many bytes of a file are here; fewer than before if it has to begin anew."""


class _Part:
    """A file while it grows, with its digest and the lines it has; what is there already counts."""

    def __init__(self, path: Path, *, anew: bool) -> None:
        self._empty()
        path.parent.mkdir(parents=True, exist_ok=True)
        if not anew and path.exists():
            with path.open("rb") as had:
                while block := had.read(_BLOCK):
                    self._take(block)
        self._out = path.open("ab" if self.size else "wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.close()

    def write(self, block: bytes) -> None:
        self._out.write(block)
        self._take(block)

    def restart(self) -> None:
        self._out.seek(0)
        self._out.truncate()
        self._empty()

    def _empty(self) -> None:
        self._digest = hashlib.sha256()
        self._last = b""
        self.size = self.lines = 0

    def _take(self, block: bytes) -> None:
        self._digest.update(block)
        self.size += len(block)
        self.lines += block.count(b"\n")
        self._last = block[-1:]

    def holds(self, file: ExportFile) -> bool:
        """Tell whether this is all of the file, by everything that the manifest says of it."""
        lines = self.lines + (self._last not in (b"", b"\n"))
        return (
            file.size in (None, self.size)
            and file.sha256 in (None, self._digest.hexdigest())
            and file.count in (None, lines)
        )


class FileFetcher:
    """Downloads files of one export.

    Parameters
    ----------
    transport
        How to reach the service.
    authorize
        Gives the headers that say who we are to an address; told what was refused before, if it was.
    gzip
        Whether to ask for compressed transfer.
    """

    def __init__(
        self,
        transport: Transport,
        authorize: Callable[[str, str | None], Awaitable[dict[str, str]]],
        *,
        gzip: bool,
    ) -> None:
        self._transport = transport
        self._authorize = authorize
        self._gzip = gzip

    async def fetch(self, file: ExportFile, target: Path, received: Received) -> None:
        """Download a file to `target`, which is there only when it is all there and right.

        Raises
        ------
        DownloadError
            The content is not what the manifest says, or cannot be written.
        ApiError, UnreachableError
            It cannot be had.
        """
        try:
            await self._fetch(file, target, received)
        except OSError as error:
            if isinstance(error, aiohttp.ClientError):
                raise
            text = f"{target} cannot be written: {error.strerror or type(error).__name__}."
            raise DownloadError(text, "Choose another place, or make room.") from error

    async def _fetch(self, file: ExportFile, target: Path, received: Received) -> None:
        part = part_of(target)
        # What cannot be checked afterwards must come in one piece.
        anew = file.sha256 is None
        fruitless, wrong = 0, 0
        while True:
            # Reading again what is here, and writing, take time that other downloads should have.
            with await asyncio.to_thread(_Part, part, anew=anew) as sink:
                before = sink.size
                try:
                    if file.size is None or before < file.size:
                        await self._stream(file, sink, received)
                except _AgainError as again:
                    fruitless = fruitless + 1 if sink.size <= before else 1
                    if fruitless >= self._transport.patience.attempts:
                        raise again.problem from None
                    await self._transport.pause(fruitless, again.after)
                    continue
                if sink.holds(file):
                    break
            await asyncio.to_thread(part.unlink, missing_ok=True)
            wrong += 1
            if wrong >= _MOST_WRONG:
                raise DownloadError("A file is not what the manifest says.", "Tell the operators.")
            received(0)
        await asyncio.to_thread(part.replace, target)

    async def _stream(self, file: ExportFile, sink: _Part, received: Received) -> None:
        refused: str | None = None
        for last in (False, True):
            headers = await self._authorize(file.url, refused)
            try:
                await self._answer(file, sink, received, headers)
            except ApiError as error:
                # A token may be revoked before its time is over; the next one is got at once.
                if last or error.status != 401:
                    raise
                refused = headers.get("Authorization")
            else:
                return

    async def _answer(
        self, file: ExportFile, sink: _Part, received: Received, authorized: dict[str, str]
    ) -> None:
        headers = dict(authorized)
        headers["Accept"] = "application/fhir+ndjson"
        if sink.size:
            # A range is one of the content itself: what came compressed before is continued plainly.
            headers |= {"Range": f"bytes={sink.size}-", "Accept-Encoding": "identity"}
        else:
            headers["Accept-Encoding"] = "gzip" if self._gzip else "identity"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
        session = self._transport.session
        try:
            async with session.get(
                file.url, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                if await _check(response, sink.size):
                    sink.restart()
                await _copy(response, file, sink, received)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise _AgainError(unreachable(file.url, error)) from error


class _AgainError(Exception):
    """The attempt broke off; another may do better."""

    def __init__(self, problem: Exception, after: float | None = None) -> None:
        super().__init__()
        self.problem = problem
        self.after = after


async def _check(response: aiohttp.ClientResponse, have: int) -> bool:
    """Make sure that an answer continues what is here; tell whether it begins anew instead."""
    if response.status not in (200, 206):
        problem = refusal(response.status, response.headers, await response.read())
        if response.status in _AGAIN:
            raise _AgainError(problem, retry_after(response.headers))
        raise problem
    if response.status == 206 and not begins_at(response.headers.get("Content-Range", ""), have):
        raise DownloadError("The service sent another part than was asked for.", "Try again.")
    return response.status == 200 and have > 0


async def _copy(response: aiohttp.ClientResponse, file: ExportFile, sink: _Part, received: Received) -> None:
    waiting: list[bytes] = []
    held = 0
    try:
        async for chunk in response.content.iter_any():
            waiting.append(chunk)
            held += len(chunk)
            if held >= _BLOCK:
                block, waiting, held = b"".join(waiting), [], 0
                await asyncio.to_thread(sink.write, block)
                received(sink.size)
                if file.size is not None and sink.size > file.size:
                    return  # it is wrong already, and more of it is only more
    finally:
        # What came before it broke off is good; so it is when the caller is interrupted.
        if waiting:
            sink.write(b"".join(waiting))
            received(sink.size)
