"""Bulk exports of a data set (Bulk Data Access 2.0.0, system level): kick-off, status, manifest, files.

| below the base | serves |
|---|---|
| `$export` | the kick-off, with `_type` and `_since` |
| `exports/{id}` | its status, then its manifest; DELETE removes it |
| `exports/{id}/{type}.ndjson` | a file: whole, in ranges, or compressed on the way |
| `exports/all` | a manifest that is always there, with all of the data |
"""

from __future__ import annotations

import secrets
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from aiohttp import web

from sluice_stack.source.answers import outcome, parse_range
from sluice_stack.source.dataset import DataSet

ALL = "all"
"""The id of the export that is always there."""

KICK_OFF, PLACE = "$export", "exports/"
_NDJSON = "application/fhir+ndjson"
_CHUNK = 2**18
_MOST = 1000
_POLLS = 1
_KNOWN = frozenset({"_type", "_since", "_outputFormat"})
_FORMATS = frozenset({_NDJSON, "application/ndjson", "ndjson"})


@dataclass(slots=True)
class _Export:
    """What was asked for, when, and how often it was polled."""

    request: str
    time: datetime
    types: Sequence[str]
    polls: int = 0


@dataclass(frozen=True, slots=True)
class _File:
    """The resources of a type, each a line without its end, and how long they are with it."""

    lines: Sequence[bytes]
    size: int


class Exports:
    """The exports of one base URL.

    Parameters
    ----------
    url
        The base URL.
    data
        What is exported; it does not change.
    protected
        Whether files ask for the same token as everything else there.
    now
        Gives the time.
    """

    def __init__(
        self,
        url: str,
        data: DataSet,
        *,
        protected: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._url = url
        self._data = data
        self._protected = protected
        self._now = now
        self._loaded = now()
        self._file = cache(self._made)
        self._begun: OrderedDict[str, _Export] = OrderedDict()

    async def answer(self, request: web.BaseRequest, rest: str) -> web.StreamResponse | None:
        """Answer a request below the base URL, None if it is about no export."""
        if rest == KICK_OFF:
            return self._kick_off(request)
        if not rest.startswith(PLACE):
            return None
        id_, _, name = rest.removeprefix(PLACE).partition("/")
        export = self._begun.get(id_)
        if id_ == ALL:
            export = _Export(f"{self._url}/{KICK_OFF}", self._loaded, self._data.types, polls=_POLLS)
        if export is None:
            return outcome(404, "not-found", "no such export")
        if name:
            return await self._send(request, export, name.removesuffix(".ndjson"))
        if request.method == "DELETE":
            self._begun.pop(id_, None)
            return web.Response(status=202)
        return self._status(id_, export)

    def _kick_off(self, request: web.BaseRequest) -> web.Response:
        if request.method != "GET":
            return outcome(405, "not-supported", "kick off by GET", allow="GET")
        if "respond-async" not in request.headers.get("Prefer", ""):
            return outcome(400, "invalid", "Prefer: respond-async is needed")
        asked = request.query
        if not _KNOWN.issuperset(asked) or asked.get("_outputFormat", _NDJSON) not in _FORMATS:
            return outcome(400, "not-supported", f"only {', '.join(sorted(_KNOWN))} are known")
        since = asked.get("_since")
        try:
            after = None if since is None else datetime.fromisoformat(since.replace(" ", "+"))
        except ValueError:
            return outcome(400, "value", "_since is no instant")
        wanted = {name for value in asked.getall("_type", ()) for name in value.split(",")}
        types = [name for name in self._data.types if not wanted or name in wanted]
        if after is not None and after.replace(tzinfo=after.tzinfo or UTC) >= self._loaded:
            types = []  # nothing has changed since it was loaded
        id_ = secrets.token_hex(8)
        self._begun[id_] = _Export(f"{self._url}{request.path_qs.partition('/fhir')[2]}", self._now(), types)
        while len(self._begun) > _MOST:
            self._begun.popitem(last=False)
        return web.Response(status=202, headers={"Content-Location": f"{self._url}/{PLACE}{id_}"})

    def _status(self, id_: str, export: _Export) -> web.Response:
        export.polls += 1
        if export.polls <= _POLLS:
            return web.Response(status=202, headers={"X-Progress": "50%", "Retry-After": "1"})
        place = f"{self._url}/{PLACE}{id_}"
        return web.json_response(
            {
                "transactionTime": export.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "request": export.request,
                "requiresAccessToken": self._protected,
                "output": [
                    {"type": name, "url": f"{place}/{name}.ndjson", "count": len(self._file(name).lines)}
                    for name in export.types
                ],
                "deleted": [],
                "error": [],
            }
        )

    async def _send(self, request: web.BaseRequest, export: _Export, name: str) -> web.StreamResponse:
        if name not in export.types:
            return outcome(404, "not-found", "no such file")
        file = self._file(name)
        tag = f'"{name}-{file.size}"'
        headers = {"Content-Type": _NDJSON, "ETag": tag, "Accept-Ranges": "bytes"}
        asked = request.headers
        span = None
        if asked.get("If-Range", tag) == tag:
            try:
                span = parse_range(asked.get("Range"), file.size)
            except ValueError:
                return web.Response(status=416, headers={"Content-Range": f"bytes */{file.size}"})
        if span is None and "gzip" in asked.get("Accept-Encoding", ""):
            packed = {**headers, "ETag": f"W/{tag}", "Content-Encoding": "gzip"}
            return await _stream(request, web.StreamResponse(headers=packed), _packed(_pieces(file.lines)))
        first, last = span or (0, file.size - 1)
        response = web.StreamResponse(status=206 if span else 200, headers=headers)
        if span:
            response.headers["Content-Range"] = f"bytes {first}-{last}/{file.size}"
        response.content_length = last - first + 1
        return await _stream(request, response, _part(_pieces(file.lines), first, last))

    def _made(self, name: str) -> _File:
        lines = self._data.lines(name)
        return _File(lines, sum(map(len, lines)) + len(lines))


async def _stream(
    request: web.BaseRequest, response: web.StreamResponse, pieces: Iterator[bytes]
) -> web.StreamResponse:
    await response.prepare(request)
    # A reader that gives up, and resumes later, is nothing to complain about.
    with suppress(ConnectionError):
        for piece in pieces:
            await response.write(piece)
        await response.write_eof()
    return response


def _pieces(lines: Sequence[bytes]) -> Iterator[bytes]:
    """Give lines with their ends, some at a time."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        held += (line, b"\n")
        size += len(line) + 1
        if size >= _CHUNK:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


def _part(pieces: Iterator[bytes], first: int, last: int) -> Iterator[bytes]:
    """Give what is from one byte up to and including another."""
    place = 0
    for piece in pieces:
        if place > last:
            return
        if place + len(piece) > first:
            yield piece[max(0, first - place) : last - place + 1]
        place += len(piece)


def _packed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()
