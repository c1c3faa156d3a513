"""Base64 in JSON strings, decoded piece by piece."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from sluice_contracts.errors import ItemError
from sluice_security.failure import SourceFailure

PIECE = 256 * 1024
_SPACE = b" \t\r\n"
_ESCAPE = re.compile(rb"\\(?:u([0-9A-Fa-f]{4})|([nrtbf/]))")
_BEGUN = re.compile(rb"\\(?:u[0-9A-Fa-f]{0,3})?\Z")
_SPELLED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"/": b"/"}


class Base64Decoder:
    r"""Decodes the inside of a JSON string that holds base64 and comes in pieces cut anywhere.

    White space between characters is skipped: R4's pattern for base64Binary allows it, and servers that wrap
    lines exist. Escapes are resolved: Gson writes `=` as `\u003d`, PHP writes `/` as `\/`.
    """

    def __init__(self) -> None:
        self._kept = b""
        self._begun = b""

    def feed(self, piece: bytes) -> bytes:
        """Give what is decoded for certain after `piece`.

        Raises
        ------
        SourceFailure
            `BAD_INLINE_DATA`.
        """
        if self._begun or b"\\" in piece:
            piece = self._unescaped(piece)
        text = self._kept + piece.translate(None, _SPACE)
        # The last group is kept back, because only it may hold padding.
        cut = max(0, (len(text) - 1) // 4 * 4)
        self._kept = text[cut:]
        ready = text[:cut]
        if b"=" in ready:
            raise SourceFailure(ItemError.BAD_INLINE_DATA)
        return _decoded(ready)

    def finish(self) -> bytes:
        """Give the rest. Raises as `feed` does."""
        if self._begun:
            raise SourceFailure(ItemError.BAD_INLINE_DATA)
        return _decoded(self._kept)

    def _unescaped(self, piece: bytes) -> bytes:
        piece = self._begun + piece
        begun = _BEGUN.search(piece)
        self._begun = begun[0] if begun else b""
        whole = piece[: len(piece) - len(self._begun)]
        # A backslash that begins no such escape stays, and is no base64.
        return _ESCAPE.sub(_resolved, whole)


def inline_pieces(literal: memoryview) -> Iterator[bytes]:
    """Decode base64 that stands in JSON as the string `literal`, quotes included.

    Raises
    ------
    SourceFailure
        `BAD_INLINE_DATA`.
    """
    inside = literal[1:-1]
    decoder = Base64Decoder()
    for start in range(0, len(inside), PIECE):
        yield decoder.feed(bytes(inside[start : start + PIECE]))
    yield decoder.finish()


def _resolved(match: re.Match[bytes]) -> bytes:
    if match[2]:
        return _SPELLED[match[2]]
    return chr(int(match[1], 16)).encode(errors="surrogatepass")


def _decoded(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True) if text else b""
    except binascii.Error:
        raise SourceFailure(ItemError.BAD_INLINE_DATA) from None
