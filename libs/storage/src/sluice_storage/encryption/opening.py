"""Reading encrypted objects: only the frames that are asked for, and no byte that is not authentic."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import obstore
import structlog
from cryptography.exceptions import InvalidTag
from obstore.store import ObjectStore as Backend

from sluice_storage.buffers import Buffer
from sluice_storage.encryption.framing import (
    FRAME,
    HEAD,
    SEALED,
    ForgedError,
    ObjectCipher,
    frames_of,
    sealed_size,
)
from sluice_storage.encryption.keys import DataKey
from sluice_storage.encryption.metrics import FORGED
from sluice_storage.objects_upload import MissingObjectError, ObjectStoreError, translated

log = structlog.get_logger(__name__)

_PIECE = 8
"""Frames that are given at once: few enough that others have their turns on the loop."""

_WINDOW = 32
"""Frames in one request to a store."""

_TURN = 4
"""Frames that a thread decrypts before they are sent."""


class ForgedObjectError(ObjectStoreError):
    """An object is not what was written: it was altered, cut off, or put in another's place."""


@dataclass(frozen=True, slots=True)
class SealedObject:
    """An encrypted object: its name in the store, the size of its content in bytes, and its data key."""

    name: str
    size: int
    key: DataKey

    def place(self, number: int) -> int:
        """Give where a frame begins in the object, or, for the one after the last, where that ends."""
        return HEAD + number * SEALED if number < frames_of(self.size) else sealed_size(self.size)

    def forged(self) -> ForgedObjectError:
        """Count and log that it is not what was written, and give the error to raise."""
        FORGED.labels(self.name.partition("/")[0]).inc()
        log.error("an object is not what was written", object=self.name)
        return ForgedObjectError("an object is not what was written")

    def cipher(self, head: Buffer) -> ObjectCipher:
        """Give the cipher of the object that begins with `head`; raises `ForgedObjectError`."""
        try:
            return ObjectCipher.of_head(self.key, head, self.name)
        except ForgedError:
            raise self.forged() from None

    def open_into(self, cipher: ObjectCipher, numbers: range, frames: memoryview, content: memoryview) -> int:
        """Decrypt these frames, which lie one behind the other, and give how much content they had.

        Raises
        ------
        ForgedObjectError
            One of them is not what was written.
        """
        last, at = frames_of(self.size) - 1, 0
        for place, number in enumerate(numbers):
            length = min(FRAME, self.size - number * FRAME)
            sealed = frames[place * SEALED : (place + 1) * SEALED]
            try:
                cipher.open_into(number, sealed, content[at : at + length], last=number == last)
            except InvalidTag:
                raise self.forged() from None
            at += length
        return at

    def opened(self, cipher: ObjectCipher, numbers: range, frames: memoryview) -> memoryview:
        """Decrypt these frames; raises `ForgedObjectError`."""
        size = min(numbers.stop * FRAME, self.size) - numbers.start * FRAME
        content = memoryview(bytearray(size))
        self.open_into(cipher, numbers, frames, content)
        return content


async def read(backend: Backend, wanted: SealedObject, start: int, end: int) -> AsyncGenerator[memoryview]:
    """Yield the content's bytes from `start` up to before `end`, a bounded piece at a time.

    The first piece is given only when the object is known to have the length that it was written with.

    Raises
    ------
    MissingObjectError
        It is not there.
    ForgedObjectError
        It is not what was written. All that was given before was.
    ObjectStoreError
        The store failed.
    """
    if start >= end:
        return
    first, stop = start // FRAME, -(-end // FRAME)
    # Most reads begin at the first frame, and get the head with it.
    cipher = wanted.cipher(await _fetch(backend, wanted, 0, HEAD)) if first else None
    for at in range(first, stop, _WINDOW):
        numbers = range(at, min(at + _WINDOW, stop))
        begin = wanted.place(at) if cipher else 0
        # A request of its own for each: a cloud's request ends after 30 s, however slow the reader is.
        window = await _fetch(backend, wanted, begin, wanted.place(numbers.stop))
        if cipher is None:
            cipher, window = wanted.cipher(window[:HEAD]), window[HEAD:]
        for n in range(0, len(numbers), _PIECE):
            piece = numbers[n : n + _PIECE]
            content = wanted.opened(cipher, piece, window[n * SEALED : (n + _PIECE) * SEALED])
            before = piece.start * FRAME
            yield content[max(0, start - before) : end - before]


async def _fetch(backend: Backend, wanted: SealedObject, start: int, end: int) -> memoryview:
    try:
        with translated():
            got = await obstore.get_async(backend, wanted.name, options={"range": (start, end)})
            size, window = got.meta["size"], memoryview(await got.bytes_async())
    except MissingObjectError:
        raise
    except ObjectStoreError:
        # Stores fail when asked for what lies behind the end.
        with translated():
            size = (await obstore.head_async(backend, wanted.name))["size"]
        if size == sealed_size(wanted.size):
            raise
    if size != sealed_size(wanted.size):
        raise wanted.forged()
    return window


class SealedFile:
    """An encrypted object in an open file, for threads: each reads into buffers of its own, used again.

    Parameters
    ----------
    file
        The file's descriptor; whoever opened it closes it.
    wanted
        What it is.

    Raises
    ------
    ForgedObjectError
        It is not that.
    """

    def __init__(self, file: int, wanted: SealedObject) -> None:
        self._file = file
        self._wanted = wanted
        if os.fstat(file).st_size != sealed_size(wanted.size):
            raise wanted.forged()
        self._cipher = wanted.cipher(os.pread(file, HEAD, 0))

    def read(self, start: int, end: int) -> memoryview:
        """Give some of the content's bytes from `start`, not beyond `end`; at least one.

        They are good until the thread reads again, from whichever file.

        Raises
        ------
        ForgedObjectError
            The file is not what was written.
        """
        wanted = self._wanted
        first = start // FRAME
        numbers = range(first, min(first + _TURN, -(-end // FRAME)))
        sealed, content = _buffers()
        length = wanted.place(numbers.stop) - wanted.place(first)
        if os.preadv(self._file, [sealed[:length]], wanted.place(first)) != length:
            raise wanted.forged()
        got = wanted.open_into(self._cipher, numbers, sealed[:length], content)
        return content[start - first * FRAME : min(got, end - first * FRAME)]


_local = threading.local()


def _buffers() -> tuple[memoryview, memoryview]:
    try:
        found: tuple[memoryview, memoryview] = _local.buffers
    except AttributeError:
        found = _local.buffers = memoryview(bytearray(_TURN * SEALED)), memoryview(bytearray(_TURN * FRAME))
    return found
