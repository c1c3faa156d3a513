"""FHIR Binary: a content that comes wrapped in JSON although it was asked for as it is.

A server should answer `GET Binary/1` with `Accept: application/pdf` by the PDF itself (R4 section 2.35.2).
HAPI and others answer with the resource all the same when the type is absent, `*/*`, or one they treat as
FHIR's.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from sluice_attacher.inline import Base64Decoder, inline_pieces
from sluice_contracts.errors import ItemError
from sluice_contracts.wire import UNREADABLE
from sluice_security.failure import SourceFailure

JSON_TYPES = frozenset({"application/fhir+json", "application/json+fhir", "application/json", "text/json"})

_BINARY = re.compile(rb'\s*\{\s*"resourceType"\s*:\s*"Binary"')
_QUOTE = ord('"')
_HEAD = 4096
# An answer that does not begin like a Binary is looked into up to this size: a property's place is free.
_SMALL = 1024 * 1024
# A Binary is its data and little else; more is no Binary.
_LONGEST_REST = 1024 * 1024
_LONGEST_TEXT = 256


class _Resource(Struct):
    resourceType: Any = None  # noqa: N815 - FHIR's name
    contentType: Any = None  # noqa: N815
    data: Raw = msgspec.field(default_factory=Raw)


class Unwrapping:
    """Gives an answer's content, taken out of a Binary if it is in one.

    A content that is JSON itself and no Binary passes through as it is. So does one over 1 MiB that has
    `resourceType` anywhere but first: it is kept as a file rather than held in memory to find out.

    Parameters
    ----------
    status
        The answer's HTTP status.
    fhir_wanted
        Whether the document says that the content is FHIR itself: an OperationOutcome may then be it.

    Attributes
    ----------
    content_type
        What the Binary says its content is, once everything was read; None if it was none or says nothing.
    """

    def __init__(self, status: int, *, fhir_wanted: bool) -> None:
        self._status = status
        self._fhir_wanted = fhir_wanted
        self.content_type: str | None = None

    async def chunks(self, answer: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Pass `answer` through, unwrapped.

        Raises
        ------
        SourceFailure
            `BAD_INLINE_DATA`, `NO_CONTENT`; `NOT_JSON` for a Binary that is broken; `SOURCE_REJECTED` for an
            OperationOutcome in the content's place.
        """
        head = bytearray()
        ended = await _gather(answer, head, _HEAD)
        if _BINARY.match(head):
            lexer = _BinaryLexer(self._status)
            for content in lexer.feed(bytes(head)):
                yield content
            async for chunk in answer:
                for content in lexer.feed(chunk):
                    yield content
            yield lexer.finish()
            self.content_type = lexer.content_type
            return
        if head.lstrip()[:1] == b"{" and (ended or await _gather(answer, head, _SMALL)):
            for content in self._small(bytes(head)):
                yield content
            return
        yield bytes(head)
        async for chunk in answer:
            yield chunk

    def _small(self, body: bytes) -> Iterator[bytes]:
        try:
            resource = msgspec.json.decode(body, type=_Resource)
        except UNREADABLE:
            # Whatever it is, it is no resource.
            resource = _Resource()
        if resource.resourceType == "OperationOutcome" and not self._fhir_wanted:
            raise SourceFailure(ItemError.SOURCE_REJECTED, self._status)
        if resource.resourceType != "Binary":
            yield body
            return
        data = memoryview(resource.data)
        if len(data) <= 2 or data[0] != _QUOTE:
            raise SourceFailure(ItemError.NO_CONTENT, self._status)
        yield from inline_pieces(data)
        self.content_type = resource.contentType if isinstance(resource.contentType, str) else None


async def _gather(answer: AsyncIterator[bytes], head: bytearray, size: int) -> bool:
    """Add to `head` until it has `size` bytes; tells whether that was all."""
    while len(head) < size:
        try:
            head += await anext(answer)
        except StopAsyncIteration:
            return True
    return False


class _BinaryLexer:
    """Finds the strings `data` and `contentType` of the outermost object, whatever its size."""

    def __init__(self, status: int) -> None:
        self.content_type: str | None = None
        self._status = status
        self._decoder = Base64Decoder()
        self._found = False
        self._in_data = False
        self._in_string = False
        self._escaped = False
        self._depth = 0
        self._ended = False
        self._rest = 0
        self._text = bytearray()
        self._key: bytes | None = None

    def feed(self, piece: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(piece):
            if self._in_data:
                end = piece.find(b'"', at)
                self._in_data = end < 0
                end = len(piece) if end < 0 else end
                content = self._decoder.feed(piece[at:end])
                if content:
                    yield content
                at = end + 1
            else:
                at = self._skip(piece, at)

    def finish(self) -> bytes:
        if not self._ended:
            raise SourceFailure(ItemError.NOT_JSON, self._status)
        if not self._found:
            raise SourceFailure(ItemError.NO_CONTENT, self._status)
        return self._decoder.finish()

    def _skip(self, piece: bytes, at: int) -> int:
        """Read up to the data's first character or the piece's end, and give that place."""
        for place in range(at, len(piece)):
            self._rest += 1
            character = piece[place : place + 1]
            if self._in_string:
                self._in_text(character)
            elif character == b'"':
                if self._depth == 1 and self._key == b"data" and not self._found:
                    self._found = self._in_data = True
                    return place + 1
                self._in_string = True
                self._text.clear()
            else:
                self._structure(character)
            if self._rest > _LONGEST_REST:
                raise SourceFailure(ItemError.NOT_JSON, self._status)
        return len(piece)

    def _in_text(self, character: bytes) -> None:
        if self._escaped:
            self._escaped = False
        elif character == b"\\":
            self._escaped = True
        elif character == b'"':
            self._in_string = False
            if self._depth == 1 and self._key == b"contentType":
                self.content_type = self._text.decode("latin-1")
        elif len(self._text) < _LONGEST_TEXT:
            self._text += character

    def _structure(self, character: bytes) -> None:
        if character in (b"{", b"["):
            self._depth += 1
        elif character in (b"}", b"]"):
            self._depth -= 1
            self._ended = self._depth == 0
        elif self._depth == 1 and character == b":":
            self._key = bytes(self._text)
        elif self._depth == 1 and character == b",":
            self._key = None
