"""How the faults of an attachment are played: the document is sound, what it points to is not."""

from __future__ import annotations

import gzip
import zlib

from aiohttp import web

from sluice_stack.source import rules
from sluice_stack.source.answers import content, outcome, parse_range, respond
from sluice_stack.source.dataset import wrapped
from sluice_stack.source.document_faults import Patience, Player, Reply, hang

_TEXT = {"Content-Type": "text/plain"}
_CLAIMED = 11 * 2**30
_BOMB = 100 * 2**20
_STATUSES = {"file-not-found": (404, "not-found"), "file-forbidden": (403, "forbidden")}


class FileFaults:
    """Plays faults of attachments under one base URL, whose `files/` they are."""

    def __init__(self, base: str) -> None:
        self._patience = Patience()
        self._content = rules.bench_content(0)
        self._bomb: bytes | None = None
        self._redirects = {
            "file-redirect": f"{base}/files/bench-000000",
            "file-redirect-loop": f"{base}/files/fault-file-redirect-loop",
            # A private address (RFC 1918), and the one that clouds keep their secrets at.
            "file-redirect-private": "http://10.0.0.1/secret",
            "file-redirect-metadata": "http://169.254.169.254/latest/meta-data/",
        }
        self._players: dict[str, Player] = {
            "file-unavailable-twice": self._unavailable_twice,
            "file-throttled-twice": self._throttled_twice,
            "truncated": self._truncated,
            "broken-once": self._broken_once,
            "broken-no-range": self._broken_no_range,
            "file-hang": self._hang,
            "gzip": self._gzip,
            "gzip-bomb": self._gzip_bomb,
            "claims-huge": self._claims_huge,
            "binary": self._binary,
        }

    async def play(self, request: web.BaseRequest, kind: str, name: str) -> Reply:
        """Answer a read of the attachment of the document that meets the fault `kind`."""
        if kind in _STATUSES:
            status, issue = _STATUSES[kind]
            return outcome(status, issue, "played on purpose")
        if kind in self._redirects:
            return web.Response(status=302, headers={"Location": self._redirects[kind]})
        player = self._players.get(kind)
        if player is not None:
            return await player(request, name)
        return respond(request, content(self._content, "text/plain"))

    async def _unavailable_twice(self, request: web.BaseRequest, name: str) -> Reply:
        return self._patience.refuse(name, 503) or respond(request, content(self._content, "text/plain"))

    async def _throttled_twice(self, request: web.BaseRequest, name: str) -> Reply:
        return self._patience.refuse(name, 429) or respond(request, content(self._content, "text/plain"))

    async def _truncated(self, request: web.BaseRequest, _name: str) -> Reply:
        return await self._cut(request)

    async def _broken_once(self, request: web.BaseRequest, name: str) -> Reply:
        if self._patience.tried(name) > 0:
            return respond(request, content(self._content, "text/plain"))
        return await self._cut(request)

    async def _broken_no_range(self, request: web.BaseRequest, name: str) -> Reply:
        if self._patience.tried(name) == 0:
            return await self._cut(request)
        return web.Response(body=self._content, headers=_TEXT)

    async def _cut(self, request: web.BaseRequest) -> Reply:
        """Send half of what is asked for, so that resuming gets further each time but never to the end."""
        size = len(self._content)
        span = parse_range(request.headers.get("Range"), size)
        first = span[0] if span else 0
        headers = content(self._content, "text/plain").headers
        response = web.StreamResponse(status=206 if span else 200, headers=headers)
        if span:
            response.headers["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
        response.content_length = size - first
        await response.prepare(request)
        await response.write(self._content[first : first + (size - first) // 2])
        _close(request)
        return response

    async def _hang(self, request: web.BaseRequest, _name: str) -> Reply:
        response = web.StreamResponse(headers=_TEXT)
        response.content_length = len(self._content)
        await response.prepare(request)
        await response.write(self._content[: len(self._content) // 2])
        return await hang()

    async def _gzip(self, _request: web.BaseRequest, _name: str) -> Reply:
        packed = gzip.compress(self._content, mtime=0)
        return web.Response(body=packed, headers={**_TEXT, "Content-Encoding": "gzip"})

    async def _gzip_bomb(self, _request: web.BaseRequest, _name: str) -> Reply:
        if self._bomb is None:
            packer = zlib.compressobj(9, zlib.DEFLATED, 31)
            zeros = bytes(2**20)
            parts = [packer.compress(zeros) for _ in range(_BOMB // len(zeros))]
            self._bomb = b"".join([*parts, packer.flush()])
        return web.Response(body=self._bomb, headers={**_TEXT, "Content-Encoding": "gzip"})

    async def _claims_huge(self, request: web.BaseRequest, _name: str) -> Reply:
        response = web.StreamResponse(headers=_TEXT)
        response.content_length = _CLAIMED
        await response.prepare(request)
        await response.write(self._content)
        _close(request)
        return response

    async def _binary(self, request: web.BaseRequest, name: str) -> Reply:
        return respond(request, wrapped(name, content(self._content, "text/plain")))


def _close(request: web.BaseRequest) -> None:
    # Before the rest of the body: the client sees a connection that broke.
    if request.transport is not None:
        request.transport.close()
