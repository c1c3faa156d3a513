"""What happens to a body on its way in: it is decompressed, and both its growth and its pace are watched."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sluice_contracts.errors import ItemError
from sluice_security.failure import SourceFailure
from sluice_security.http_limits import HttpLimits

if TYPE_CHECKING:
    from zlib import _Decompress as _Decompressor

_PIECE = 256 * 1024
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class Inflater:
    """Decompresses a gzip or deflate body piece by piece, never making more than one piece at a time.

    Parameters
    ----------
    coding
        The answer's Content-Encoding.
    limits
        Its `ratio` and `ratio_floor` end a body that grows too much (a decompression bomb).
    status
        The answer's HTTP status, for the failures this raises.
    """

    def __init__(self, coding: str, limits: HttpLimits, status: int) -> None:
        self._status = status
        self._limits = limits
        coding = coding.strip().lower()
        if coding not in ("gzip", "x-gzip", "deflate"):
            # Nothing else was asked for (RFC 9110 section 12.5.3), several layers at once least of all.
            raise SourceFailure(ItemError.SOURCE_REJECTED, status)
        self._wbits = _ZLIB if coding == "deflate" else _GZIP
        self._zlib: _Decompressor | None = None
        self._head = b""
        self._read = 0
        self._made = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give what these compressed bytes become, in pieces of at most 256 KiB.

        Raises
        ------
        SourceFailure
            `DECOMPRESSION_REFUSED`: it grows beyond the ratio. `SOURCE_UNAVAILABLE`: it is damaged.
        """
        self._read += len(data)
        if self._zlib is None:
            data = self._head = self._head + data
            if len(data) < 2:
                return
            self._zlib = self._begin(data)
        full = False
        while data or full:
            if self._zlib.eof:
                # A gzip body may be several members one after the other (RFC 1952 section 2.2).
                self._zlib = zlib.decompressobj(self._wbits)
            try:
                piece = self._zlib.decompress(data, _PIECE)
            except zlib.error:
                raise SourceFailure(ItemError.SOURCE_UNAVAILABLE, self._status, retry=True) from None
            data = self._zlib.unconsumed_tail or self._zlib.unused_data
            # A full piece may have left more behind inside zlib even when its input is used up.
            full = len(piece) == _PIECE and not self._zlib.eof
            self._made += len(piece)
            if self._made > self._limits.ratio_floor and self._made > self._limits.ratio * self._read:
                raise SourceFailure(ItemError.DECOMPRESSION_REFUSED, self._status)
            if piece:
                yield piece

    def _begin(self, head: bytes) -> _Decompressor:
        # Some servers send deflate without the zlib wrapping that RFC 9110 section 8.4.1.2 asks for; the
        # wrapping is known by its first two bytes (RFC 1950 section 2.2).
        if self._wbits == _ZLIB and (head[0] & 0x0F != 8 or int.from_bytes(head[:2]) % 31):
            self._wbits = _RAW
        return zlib.decompressobj(self._wbits)

    def finish(self) -> None:
        """Say that the body has ended.

        Raises
        ------
        SourceFailure
            `SOURCE_UNAVAILABLE`: it ended in the middle.
        """
        if self._read and (self._zlib is None or not self._zlib.eof):
            raise SourceFailure(ItemError.SOURCE_UNAVAILABLE, self._status, retry=True)


class Pace:
    """Ends a body that trickles: at least `rate` bytes per second on average over each `rate_window`."""

    __slots__ = ("_bytes", "_limits", "_waited")

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._bytes = 0
        self._waited = 0.0

    def took(self, seconds: float, size: int, status: int) -> None:
        """Count one read that waited so long for so many bytes.

        Raises
        ------
        SourceFailure
            `SOURCE_TIMEOUT`: the window just ended was too slow.
        """
        self._waited += seconds
        self._bytes += size
        if self._waited >= self._limits.rate_window:
            if self._bytes < self._limits.rate * self._waited:
                raise SourceFailure(ItemError.SOURCE_TIMEOUT, status, retry=True)
            self._waited = 0.0
            self._bytes = 0
