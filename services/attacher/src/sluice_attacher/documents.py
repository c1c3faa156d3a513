"""What a DocumentReference says about its contents, and which of them becomes the file.

Everything in it was written by someone else: a field of the wrong type counts as absent, and only a document
that cannot be read at all is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from sluice_contracts.errors import ItemError
from sluice_contracts.wire import UNREADABLE
from sluice_security.failure import SourceFailure

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")
_QUOTE = ord('"')
_DIGITS = re.compile(r"[0-9]{1,18}")


class _Attachment(Struct):
    contentType: Any = None  # noqa: N815 - FHIR's name
    url: Any = None
    title: Any = None
    size: Any = None
    hash: Any = None
    # A view of the document's bytes: inline content is never copied as a whole.
    data: Raw = msgspec.field(default_factory=Raw)


class _Content(Struct):
    attachment: _Attachment = msgspec.field(default_factory=_Attachment)


class _DocumentReference(Struct):
    id: Any = None
    content: list[_Content] = msgspec.field(default_factory=list)


_decoder = msgspec.json.Decoder(_DocumentReference)


class Content(Struct, frozen=True, gc=False):
    """One content of a document (R4 `DocumentReference.content.attachment`).

    Parameters
    ----------
    content_type
        Its media type in lower case without parameters, None if the document has none that is one.
    data
        Its bytes in base64 as they stand in the JSON, quotes included; empty if there are none.
    url
        Where it is otherwise; None if it is inline.
    size
        How many bytes it has, as the document states (R5 writes it as a string); None if it does not.
    hash
        Its SHA-1 as the document states it; None if it does not.
    title
        What its author calls it.
    """

    content_type: str | None
    data: memoryview
    url: str | None
    size: int | None
    hash: str | None
    title: str | None


class Chosen(Struct, frozen=True, gc=False):
    """The content that becomes the file, the document's id, and how many further contents there were."""

    content: Content
    document: str | None
    others: int


def choose(body: bytes, permits: Callable[[str], bool]) -> Chosen:
    """Choose the first content that the policy allows.

    One without a media type is chosen only if no other is allowed: what it is shows when it comes.

    Parameters
    ----------
    body
        The DocumentReference.
    permits
        Tells whether contents of a media type may be imported.

    Raises
    ------
    SourceFailure
        `NOT_JSON`; `NO_CONTENT`: it has none with data or a URL; `CONTENT_REFUSED`: none is allowed.
    """
    try:
        document = _decoder.decode(body)
    except UNREADABLE:
        raise SourceFailure(ItemError.NOT_JSON) from None
    contents = [found for each in document.content if (found := _content(each.attachment)) is not None]
    if not contents:
        raise SourceFailure(ItemError.NO_CONTENT)
    allowed = [found for found in contents if found.content_type and permits(found.content_type)]
    allowed += [found for found in contents if found.content_type is None]
    if not allowed:
        raise SourceFailure(ItemError.CONTENT_REFUSED)
    return Chosen(allowed[0], _text(document.id), len(contents) - 1)


def media_type(text: str) -> str | None:
    """Give the media type in `text` in lower case without parameters, or None if it is none."""
    kind = text.partition(";")[0].strip()
    return kind.lower() if _MEDIA_TYPE.fullmatch(kind) else None


def _content(attachment: _Attachment) -> Content | None:
    data = memoryview(attachment.data)
    # An empty string is no content: FHIR has no empty strings, and some servers write them all the same.
    inline = len(data) > 2 and data[0] == _QUOTE
    url = None if inline else _text(attachment.url)
    if not inline and url is None:
        return None
    kind = _text(attachment.contentType)
    return Content(
        content_type=media_type(kind) if kind else None,
        data=data if inline else memoryview(b""),
        url=url,
        size=_size(attachment.size),
        hash=_text(attachment.hash),
        title=_text(attachment.title),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _size(value: Any) -> int | None:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
