"""What a document states about its content, held against what comes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator

from sluice_contracts.errors import ItemError
from sluice_security.failure import SourceFailure

_HEX_SHA1 = re.compile(r"[0-9A-Fa-f]{40}")


class Check:
    """Holds a content against what its document states.

    Parameters
    ----------
    size
        Bytes it must have, any number if None.
    stated_hash
        Its SHA-1 (see `digest_of`), any if None.
    limit
        Bytes it may have at most.
    status
        The HTTP status it came with.

    Raises
    ------
    SourceFailure
        `HASH_MISMATCH`: what is stated is no hash.
    """

    __slots__ = ("_digest", "_limit", "_received", "_size", "_status", "_wanted")

    def __init__(self, *, size: int | None, stated_hash: str | None, limit: int, status: int | None) -> None:
        self._size = size
        self._limit = limit
        self._status = status
        self._received = 0
        self._wanted = None if stated_hash is None else digest_of(stated_hash)
        if stated_hash is not None and self._wanted is None:
            raise SourceFailure(ItemError.HASH_MISMATCH, status)
        # SHA-1 is what FHIR defines (R4 Attachment.hash); it guards against accidents here, not attacks.
        self._digest = None if self._wanted is None else hashlib.sha1(usedforsecurity=False)

    def add(self, chunk: bytes) -> None:
        """Take the next piece of it.

        Raises
        ------
        SourceFailure
            `ATTACHMENT_TOO_LARGE` or `SIZE_MISMATCH`.
        """
        self._received += len(chunk)
        if self._received > self._limit:
            raise SourceFailure(ItemError.ATTACHMENT_TOO_LARGE, self._status)
        if self._size is not None and self._received > self._size:
            raise SourceFailure(ItemError.SIZE_MISMATCH, self._status)
        if self._digest is not None:
            self._digest.update(chunk)

    def end(self) -> None:
        """Say that this was all.

        Raises
        ------
        SourceFailure
            `SIZE_MISMATCH` or `HASH_MISMATCH`.
        """
        if self._size is not None and self._received != self._size:
            raise SourceFailure(ItemError.SIZE_MISMATCH, self._status)
        if self._digest is not None and self._digest.digest() != self._wanted:
            raise SourceFailure(ItemError.HASH_MISMATCH, self._status)

    async def passing(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Pass a content through, and fail at its end, or as soon as it is clear, if it is not as stated."""
        async for chunk in chunks:
            self.add(chunk)
            yield chunk
        self.end()


def digest_of(stated: str) -> bytes | None:
    """Read a SHA-1 as documents state it, None if it is none.

    R4 wants the digest in base64. Its hexadecimal spelling, as it is or in base64 once more, is met in the
    wild and cannot be mistaken for anything else.
    """
    text = stated.strip()
    if _HEX_SHA1.fullmatch(text):
        return bytes.fromhex(text)
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(digest) == 40 and _HEX_SHA1.fullmatch(digest.decode("latin-1")):
        return bytes.fromhex(digest.decode())
    return digest if len(digest) == 20 else None
