"""Downloading a file: streamed, resumed where it broke off, checked by SHA-256, put in place at once."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from sluice_client.errors import DownloadError
from sluice_client.models import Downloaded
from sluice_client.transport import Transport, refusal, unreachable

_CHUNK = 256 * 1024
_ETAG = re.compile(r'"([0-9a-f]{64})"')
_MOST_WRONG = 2
_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")

Progress = Callable[[int, int], None]
"""Told after each chunk: the bytes that are here, and all there are."""


def safe_name(name: str) -> str:
    """Give a name that is one step of a path here, whatever a server made of it.

    Raises
    ------
    DownloadError
        It cannot be a file's name.
    """
    if name in ("", ".", "..") or "\0" in name or "/" in name or os.sep in name or (os.altsep or "/") in name:
        raise DownloadError("A file's name cannot be one on this machine.", "Download it under another name.")
    return name


@dataclass(frozen=True, slots=True)
class _Content:
    size: int
    sha256: str | None


class Downloader:
    """Downloads to files.

    Parameters
    ----------
    transport
        How to reach the service.
    address
        Gives a fresh address of the content; such addresses are good for some minutes only.
    """

    def __init__(self, transport: Transport, address: Callable[[], Awaitable[str]]) -> None:
        self._transport = transport
        self._address = address

    async def save(self, target: Path, progress: Progress | None = None) -> Downloaded:
        """Save the content as `target`, replacing what is there only when all of it is here and right.

        What a broken download left beside the target is taken up again, if the content is still the same. A
        target that holds the content already stays as it is.

        Raises
        ------
        DownloadError
            The content is not the announced one, or cannot be written here.
        ApiError, UnreachableError
            It cannot be had.
        """
        content = await self._head()
        if content.sha256 is not None and await asyncio.to_thread(_is, target, content):
            return Downloaded(path=str(target), size=content.size, sha256=content.sha256)
        part = target.with_name(f".{target.name[:100]}.{(content.sha256 or 'whole')[:16]}.part")
        try:
            await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
            digest = await self._fetch(part, content, progress)
            await asyncio.to_thread(part.replace, target)
        except OSError as error:
            text = f"{target} cannot be written: {error.strerror or type(error).__name__}."
            raise DownloadError(text, "Choose another place.") from error
        return Downloaded(path=str(target), size=content.size, sha256=digest)

    async def _head(self) -> _Content:
        answer = await self._transport.send("HEAD", await self._address())
        etag = _ETAG.fullmatch(answer.headers.get("ETag", ""))
        return _Content(int(answer.headers.get("Content-Length", "0")), etag.group(1) if etag else None)

    async def _fetch(self, part: Path, content: _Content, progress: Progress | None) -> str:
        fruitless, wrong = 0, 0
        while True:
            before = await asyncio.to_thread(_usable, part, content)
            try:
                if before < content.size:
                    await self._stream(part, content, before, progress)
            except (aiohttp.ClientError, TimeoutError) as error:
                # Progress earns patience: only attempts that bring nothing count.
                fruitless = fruitless + 1 if await asyncio.to_thread(_size, part) <= before else 1
                if fruitless >= self._transport.patience.attempts:
                    raise unreachable(await self._address(), error) from error
                await self._transport.pause(fruitless)
                continue
            found = await asyncio.to_thread(_digest, part)
            if await asyncio.to_thread(_size, part) == content.size and content.sha256 in (None, found):
                return found
            await asyncio.to_thread(part.unlink, missing_ok=True)
            wrong += 1
            if wrong >= _MOST_WRONG:
                raise DownloadError("The content is not the announced one.", "Tell the operators.")

    async def _stream(self, part: Path, content: _Content, have: int, progress: Progress | None) -> None:
        headers = {"Range": f"bytes={have}-", "If-Range": f'"{content.sha256}"'} if have else {}
        # The whole may take long; what must not is the time between two pieces of it.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
        url = await self._address()
        session = self._transport.session
        async with session.get(url, headers=headers, timeout=timeout, allow_redirects=False) as response:
            if response.status not in (200, 206):
                raise refusal(response.status, response.headers, await response.read())
            if response.status == 200:
                have = 0  # the content is another by now, or ranges are not served
            elif not begins_at(response.headers.get("Content-Range", ""), have):
                raise DownloadError("The service sent another part than was asked for.", "Try again.")
            with part.open("ab" if have else "wb") as out:
                async for chunk in response.content.iter_chunked(_CHUNK):
                    out.write(chunk)
                    have += len(chunk)
                    if progress is not None:
                        progress(have, content.size)


def begins_at(content_range: str, start: int) -> bool:
    """Tell whether a `Content-Range` begins where it was asked to."""
    found = _RANGE.match(content_range)
    return found is not None and int(found.group(1)) == start


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _digest(part: Path) -> str:
    with part.open("rb") as had:
        return hashlib.file_digest(had, "sha256").hexdigest()


def _is(target: Path, content: _Content) -> bool:
    return target.is_file() and _size(target) == content.size and _digest(target) == content.sha256


def _usable(part: Path, content: _Content) -> int:
    """Give how much of the content is here already; a part that cannot be checked is thrown away."""
    size = _size(part)
    if size == 0 or size > content.size or content.sha256 is None:
        part.write_bytes(b"")
        return 0
    return size
