"""NDJSON as it comes: pieces of bytes of any size, cut into numbered lines.

Lines end with LF or CRLF, blank lines are skipped (but counted), a byte order mark at the start is ignored,
the last line needs no end. A line over the limit is not held in memory: it is skipped, and reported.
"""

from __future__ import annotations

from msgspec import Struct

MOST_BYTES = 64 * 1024 * 1024
"""How long a line may be."""

_MARK = b"\xef\xbb\xbf"
_BLANKS = b" \t\r"


class Line(Struct, frozen=True, gc=False):
    """A line without its end and without white space around it; `text` is None if it is over the limit.

    `number` counts from 1.
    """

    number: int
    text: bytes | None


class Splitter:
    """Cuts one file into lines.

    Parameters
    ----------
    limit
        Bytes that a line may have, its end not counted.

    Attributes
    ----------
    held
        Bytes of the line that is not complete yet.
    """

    def __init__(self, limit: int = MOST_BYTES) -> None:
        self._limit = limit
        self._number = 1
        self._pieces: list[bytes] = []  # of the line that is not complete yet
        self.held = 0
        self._over = False

    def feed(self, piece: bytes) -> list[Line]:
        """Give the lines that `piece` completes."""
        first, *rest = piece.split(b"\n")
        self._hold(first)
        if not rest:
            return []
        lines = self._complete()
        *whole, last = rest
        limit = self._limit
        for number, text in enumerate(whole, self._number):
            if len(text) <= limit:
                if text := text.strip(_BLANKS):
                    lines.append(Line(number, text))
            else:
                lines += _line(number, text, limit)
        self._number += len(whole)
        self._hold(last)
        return lines

    def end(self) -> list[Line]:
        """Give the last line, if the file does not end with a line's end."""
        return self._complete()

    def _hold(self, text: bytes) -> None:
        if self._over or not text:
            return
        self._pieces.append(text)
        self.held += len(text)
        # More for what may be no part of the line: a CR of its end, and a mark at the file's beginning.
        if self.held > self._limit + (1 if self._number > 1 else 1 + len(_MARK)):
            self._over, self._pieces = True, []

    def _complete(self) -> list[Line]:
        number, over = self._number, self._over
        text = b"".join(self._pieces)
        self._number += 1
        self._pieces, self.held, self._over = [], 0, False
        if number == 1:
            text = text.removeprefix(_MARK)
        return [Line(number, None)] if over else _line(number, text, self._limit)


def _line(number: int, text: bytes, limit: int) -> list[Line]:
    if len(text.removesuffix(b"\r")) > limit:
        return [Line(number, None)]
    text = text.strip(_BLANKS)
    return [Line(number, text)] if text else []
