"""The bytes of an encrypted object: a head, then frames of AES-256-GCM (the STREAM construction).

    head    8 bytes that name this format, 32 random bytes (the salt)
    frame   65,536 bytes of the content, encrypted, and a tag of 16 bytes; the last one may be shorter

Each object has a key of its own, derived (HKDF-SHA-256) from its data key, its salt and its name: no two
objects share a key, also not two attempts at the same one, so a frame's number makes a nonce that is never
used twice. The nonce ends with 1 in the last frame and 0 in all others. So frames that are missing, repeated,
in another order or of another object do not decrypt. An empty content is one empty frame; no other content
has an empty last frame. Where a frame lies follows from its number: any part can be read without the rest.

Hoang, Reyhanitabar, Rogaway and Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance" (2015), section 7.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sluice_storage.buffers import Buffer
from sluice_storage.encryption.keys import DataKey

FRAME = 64 * 1024
"""Bytes of the content in a frame; a larger frame is no faster, and costs more where little is read."""

TAG = 16
SEALED = FRAME + TAG
"""Bytes of a frame in an object, but the last."""

_FORMAT = b"sluice\x00\x01"
_SALT = 32
HEAD = len(_FORMAT) + _SALT
"""Bytes in front of the first frame."""

_COUNTER = 11


class ForgedError(Exception):
    """An object, or a part of it, is not what was written under this key and name."""


def frames_of(size: int) -> int:
    """Give how many frames a content of so many bytes has."""
    return max(1, -(-size // FRAME))


def sealed_size(size: int) -> int:
    """Give how many bytes an encrypted object has whose content has `size`."""
    return HEAD + size + TAG * frames_of(size)


class ObjectCipher:
    """Encrypts and decrypts the frames of one object.

    Parameters
    ----------
    key
        The data key that the object belongs to.
    salt
        What is in its head.
    name
        Its name in the store.
    """

    def __init__(self, key: DataKey, salt: bytes, name: str) -> None:
        self._name = name.encode()
        info = b"sluice object " + self._name
        derived = HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key.secret)
        self._cipher = AESGCM(derived)

    @classmethod
    def of_head(cls, key: DataKey, head: Buffer, name: str) -> ObjectCipher:
        """Give the cipher of an object that begins with `head`.

        Raises
        ------
        ForgedError
            It is not the head of an encrypted object.
        """
        whole = bytes(head)
        if len(whole) != HEAD or not whole.startswith(_FORMAT):
            raise ForgedError
        return cls(key, whole[len(_FORMAT) :], name)

    def close(self, number: int, plain: Buffer, *, last: bool) -> bytes:
        """Encrypt a frame."""
        return self._cipher.encrypt(_nonce(number, last), plain, self._name)

    def open_into(self, number: int, sealed: Buffer, target: Buffer, *, last: bool) -> None:
        """Decrypt a frame into `target`, which is as long as what it holds.

        Raises
        ------
        InvalidTag
            It is not the frame of this number; what is in `target` then is worth nothing.
        """
        self._cipher.decrypt_into(_nonce(number, last), sealed, self._name, target)


class Sealer:
    """Encrypts an object while its content is produced.

    It keeps back up to one frame, until it is known whether that is the last.

    Parameters
    ----------
    key
        The data key that the object belongs to.
    name
        Its name in the store.
    """

    def __init__(self, key: DataKey, name: str) -> None:
        salt = secrets.token_bytes(_SALT)
        self._head = [_FORMAT + salt]
        self._cipher = ObjectCipher(key, salt, name)
        self._number = 0
        self._pending = bytearray(FRAME)
        self._held = 0

    def add(self, buffers: Iterable[Buffer]) -> list[bytes]:
        """Take what these hold, one behind the other, and give what is to be written."""
        made, self._head = self._head, []
        for buffer in buffers:
            rest = memoryview(buffer)
            while rest:
                if self._held == FRAME:
                    made.append(self._close(self._pending))
                    self._held = 0
                if not self._held and len(rest) > FRAME:
                    # As it is, without a copy; more follows, so it is not the last.
                    made.append(self._close(rest[:FRAME]))
                    rest = rest[FRAME:]
                    continue
                taken = min(FRAME - self._held, len(rest))
                self._pending[self._held : self._held + taken] = rest[:taken]
                self._held += taken
                rest = rest[taken:]
        return made

    def end(self) -> list[bytes]:
        """Give what is left to be written: the last frame at least."""
        made, self._head = self._head, []
        made.append(self._close(memoryview(self._pending)[: self._held], last=True))
        return made

    def _close(self, plain: Buffer, *, last: bool = False) -> bytes:
        number = self._number
        self._number += 1
        return self._cipher.close(number, plain, last=last)


def sealed(key: DataKey, name: str, content: Buffer) -> list[bytes]:
    """Encrypt an object whose content is in memory; give its bytes in pieces."""
    salt = secrets.token_bytes(_SALT)
    cipher = ObjectCipher(key, salt, name)
    rest, last = memoryview(content), frames_of(len(content)) - 1
    frames = [cipher.close(n, rest[n * FRAME : (n + 1) * FRAME], last=n == last) for n in range(last + 1)]
    return [_FORMAT + salt, *frames]


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(_COUNTER, "big") + (b"\x01" if last else b"\x00")
