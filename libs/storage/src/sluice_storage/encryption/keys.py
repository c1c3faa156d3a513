"""Data keys, and the master keys that wrap them.

A data key encrypts one job's files or one content. It is kept wrapped, in Postgres and never in the object
store: when its row is deleted or the column emptied, what it encrypted is unreadable, in every copy of the
object store. A wrapped key says which master key wrapped it (8 bytes), then is a seal under that one
(`sluice_security.sealing`: version, nonce, AES-256-GCM), bound to the name of what the data key is for.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sluice_security.sealing import Seal, SealBrokenError, read_secret
from sluice_storage.objects_upload import ObjectStoreError

KEY = 32
"""Bytes of a data key."""

ID = 8
"""Bytes of a master key's id."""


class LostKeyError(ObjectStoreError):
    """A data key cannot be unwrapped: it is not what was kept."""


class UnknownMasterKeyError(LostKeyError):
    """A data key cannot be unwrapped: its master key is not among those given."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """What encrypts the objects of one job, or one content; `secret` is 32 bytes."""

    secret: bytes = field(repr=False)


class MasterKeys:
    """Makes, wraps and unwraps data keys.

    Parameters
    ----------
    secrets
        Master keys, at least 32 bytes each. The first one wraps, all of them unwrap.

    Attributes
    ----------
    ids
        Their ids, in the order given.
    newest
        The id of the one that wraps.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._seals = {_id_of(secret): Seal(secret, "data key") for secret in secrets}
        if not self._seals:
            raise ValueError("there is no master key")
        self.ids = tuple(self._seals)
        self.newest = self.ids[0]

    @classmethod
    def read(cls, text: str) -> MasterKeys:
        """Read master keys in hex or base64, in lines or separated by spaces, the newest first.

        Raises
        ------
        ValueError
            There is none, or one is not a key. The text does not repeat it.
        """
        return cls([read_secret(word) for word in text.split()])

    def make(self, name: str) -> tuple[DataKey, bytes]:
        """Make a data key for what is called `name`; also give it wrapped, as it is kept."""
        key = DataKey(secrets.token_bytes(KEY))
        return key, self._wrap(key, name)

    def unwrap(self, wrapped: bytes, name: str) -> DataKey:
        """Give back the data key that was made for `name`.

        Raises
        ------
        UnknownMasterKeyError
            Its master key is not here.
        LostKeyError
            It is not what was made.
        """
        seal = self._seals.get(wrapped[:ID])
        if seal is None:
            raise UnknownMasterKeyError("the master key that wrapped a data key is not here")
        try:
            return DataKey(seal.open(wrapped[ID:], name))
        except SealBrokenError:
            raise LostKeyError("a wrapped data key is not what was kept") from None

    def rewrap(self, wrapped: bytes, name: str) -> bytes:
        """Wrap a data key with the newest master key; raises as `unwrap`."""
        return self._wrap(self.unwrap(wrapped, name), name)

    def _wrap(self, key: DataKey, name: str) -> bytes:
        return self.newest + self._seals[self.newest].close(key.secret, name)


def _id_of(secret: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=ID, salt=None, info=b"sluice master key id").derive(secret)
