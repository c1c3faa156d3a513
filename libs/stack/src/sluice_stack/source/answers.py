"""Answers made beforehand, and what HTTP adds to them: conditions, ranges and compression."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web
from multidict import CIMultiDict

FHIR_JSON = "application/fhir+json; charset=utf-8"
_WORTH_PACKING = 1024
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(slots=True)
class Answer:
    """A whole answer: `body` with its `headers`, and the body compressed if that is kept too."""

    body: bytes
    headers: CIMultiDict[str]
    packed: bytes | None = None
    ranges: bool = False
    etag: str = field(default="")

    def __post_init__(self) -> None:
        self.etag = self.headers.get("ETag", "")


def fhir(resource: dict[str, Any] | bytes, *, version: str = "1", pack: bool = False) -> Answer:
    """Make the answer that is a resource; its ETag is weak and names the version (R4 section 3.1.0.5)."""
    body = resource if isinstance(resource, bytes) else msgspec.json.encode(resource)
    headers = CIMultiDict({"Content-Type": FHIR_JSON, "ETag": f'W/"{version}"'})
    packed = gzip.compress(body, 6, mtime=0) if pack and len(body) > _WORTH_PACKING else None
    return Answer(body, headers, packed)


def content(body: bytes, content_type: str) -> Answer:
    """Make the answer that is an attachment; its ETag is strong, so that it can be resumed."""
    tag = hashlib.sha1(body, usedforsecurity=False).hexdigest()
    headers = CIMultiDict({"Content-Type": content_type, "ETag": f'"{tag}"', "Accept-Ranges": "bytes"})
    return Answer(body, headers, ranges=True)


def outcome(status: int, code: str, text: str, **headers: str) -> web.Response:
    """Make an error's answer: an OperationOutcome."""
    issue = {"severity": "error", "code": code, "diagnostics": text}
    body = msgspec.json.encode({"resourceType": "OperationOutcome", "issue": [issue]})
    return web.Response(
        status=status, body=body, headers={"Content-Type": FHIR_JSON, **_header_names(headers)}
    )


def _header_names(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-").title(): value for name, value in headers.items()}


def parse_range(text: str | None, size: int) -> tuple[int, int] | None:
    """Read a Range header (RFC 9110 section 14.2) as first and last byte, None for none that is understood.

    Raises
    ------
    ValueError
        It begins at or after the end.
    """
    found = _RANGE.fullmatch(text) if text else None
    if found is None:
        return None
    first = int(found[1])
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    if first >= size or last < first:
        raise ValueError("not satisfiable")
    return first, last


def respond(request: web.BaseRequest, answer: Answer) -> web.Response:
    """Answer a request with what was made beforehand."""
    asked = request.headers
    if answer.etag and asked.get("If-None-Match") == answer.etag:
        return web.Response(status=304, headers={"ETag": answer.etag})
    if answer.ranges and "Range" in asked and asked.get("If-Range", answer.etag) == answer.etag:
        return _partial(asked["Range"], answer)
    if answer.packed is not None and "gzip" in asked.get("Accept-Encoding", ""):
        response = web.Response(body=answer.packed, headers=answer.headers)
        response.headers["Content-Encoding"] = "gzip"
        return response
    return web.Response(body=answer.body, headers=answer.headers)


def _partial(text: str, answer: Answer) -> web.Response:
    size = len(answer.body)
    try:
        span = parse_range(text, size)
    except ValueError:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
    if span is None:
        return web.Response(body=answer.body, headers=answer.headers)
    first, last = span
    response = web.Response(status=206, body=answer.body[first : last + 1], headers=answer.headers)
    response.headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return response
