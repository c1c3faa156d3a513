"""What a request for content makes depend on what its client has: RFC 9110, sections 13 and 14.

Section 13.2.2 says in which order: first that it is still the version that the client means, then that the
client does not have it already, and only then which part of it is asked for. Ranges are GET's alone (14.2).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from datetime import datetime

from aiohttp import hdrs, web

from sluice_gateway.problems import Problem

_ANY = "*"
_NOTHING = re.compile("bytes=-0+")


def still_meant(request: web.Request, tag: str, modified: datetime | None = None) -> bool:
    """Tell whether a representation is one that the client asks for (`If-Match`, `If-Unmodified-Since`).

    Parameters
    ----------
    tag
        Its entity tag; compared strongly, so that a weak one is never what is meant.
    modified
        When it was last changed, where that is told.
    """
    meant = _tags(request, hdrs.IF_MATCH)
    if meant is not None:
        return _ANY in meant or (tag in meant and not tag.startswith("W/"))
    since = request.if_unmodified_since
    return since is None or modified is None or _seconds(modified) <= _seconds(since)


def changed() -> Problem:
    """Give the answer for what is not the version any more that the client means (412)."""
    return Problem(
        412,
        "changed",
        "What is here is not what the request's conditions name.",
        "Send it without If-Match and If-Unmodified-Since to get what is here now.",
    )


def has_it(request: web.Request, tags: Collection[str], modified: datetime | None = None) -> bool:
    """Tell whether the client has what it asks for (`If-None-Match`, `If-Modified-Since`).

    Parameters
    ----------
    tags
        The entity tags of what is as good as what would be sent; compared weakly.
    modified
        When it was last changed, where that is told.
    """
    held = _tags(request, hdrs.IF_NONE_MATCH)
    if held is not None:
        return _ANY in held or not {_opaque(tag) for tag in tags}.isdisjoint(map(_opaque, held))
    since = request.if_modified_since
    return since is not None and modified is not None and _seconds(modified) <= _seconds(since)


def asked_range(request: web.Request, tag: str) -> slice | None:
    """Give the range asked for, None if the whole is; `tag` is of what ranges are taken from.

    A date in `If-Range` is no strong validator here (13.1.5): for it the whole is sent.
    """
    if request.method != hdrs.METH_GET or hdrs.RANGE not in request.headers:
        return None
    if request.headers.get(hdrs.IF_RANGE, tag) != tag:
        return None
    try:
        asked = request.http_range
    except ValueError:
        return None  # malformed, or several ranges: the whole is a valid answer
    # The last no bytes, which no file has (14.1.2): aiohttp makes all of them of it.
    return slice(sys.maxsize, None) if _NOTHING.fullmatch(request.headers[hdrs.RANGE]) else asked


def part_of(asked: slice | None, size: int) -> tuple[int, int] | None:
    """Give the first byte and the one after the last of what is asked for; None: all of it.

    Raises
    ------
    Problem
        416: the range lies outside.
    """
    if asked is None:
        return None
    part = span(asked, size)
    if part is None:
        raise Problem(
            416,
            "range_not_satisfiable",
            "The range lies outside of the file.",
            "",
            {hdrs.CONTENT_RANGE: f"bytes */{size}"},
        )
    return part


def span(asked: slice, size: int) -> tuple[int, int] | None:
    """Give the first byte and the one after the last of a range, None if it lies outside.

    `asked` is as aiohttp reads a `Range` field: a negative start counts from the end (RFC 9110 14.1.2).
    """
    start = asked.start or 0
    if start < 0:
        return (max(0, size + start), size) if size else None
    if start >= size:
        return None
    return start, min(size, asked.stop if asked.stop is not None else size)


def _tags(request: web.Request, name: str) -> set[str] | None:
    """Give a field's members; a list may be spread over several fields of the name."""
    fields = request.headers.getall(name, ())
    # No tag of ours has a comma in it: the pieces of one that has are none of ours either.
    return {tag.strip() for field in fields for tag in field.split(",")} if fields else None


def _opaque(tag: str) -> str:
    return tag.removeprefix("W/")


def _seconds(at: datetime) -> int:
    return int(at.timestamp())
