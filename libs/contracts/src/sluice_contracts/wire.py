"""JSON on the wire: one encoder, and decoders that name each way in which a message can be bad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises of bytes that are not the JSON they should be; that may also be nested too deeply."""


class MalformedMessageError(ValueError):
    """The bytes are not the JSON their topic promises. The text says where, never what was there."""


class UnknownTypeError(MalformedMessageError):
    """The JSON is sound but its `type` is none that this version knows: a newer producer's, to be skipped."""


class _Envelope(Struct):
    type: str = ""


def encode(message: Struct) -> bytes:
    """Give the message's JSON bytes."""
    return _encoder.encode(message)


class Decoder(Generic[T]):
    """Decodes one topic's messages; build one per topic, once.

    Parameters
    ----------
    types
        The union of message classes that the topic carries.
    """

    def __init__(self, types: Any) -> None:
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(types)
        members = getattr(types, "__args__", (types,))
        self._known = frozenset(str(member.__struct_config__.tag) for member in members)

    def decode(self, data: bytes) -> T:
        """Give the message in `data`.

        Raises
        ------
        UnknownTypeError
            Its type is none of the topic's.
        MalformedMessageError
            It is not JSON, or a field is missing or of another type.
        """
        try:
            return self._decoder.decode(data)
        except UNREADABLE as error:
            raise self._explain(data, error) from None

    def decode_each(self, values: Sequence[bytes]) -> list[T | MalformedMessageError]:
        """Give, for each value, its message or what is wrong with it; the fastest way to decode many."""
        decode = self._decoder.decode
        try:
            return [decode(value) for value in values]
        except UNREADABLE:
            return [self._outcome(value) for value in values]

    def _outcome(self, data: bytes) -> T | MalformedMessageError:
        try:
            return self.decode(data)
        except MalformedMessageError as error:
            return error

    def _explain(self, data: bytes, error: Exception) -> MalformedMessageError:
        try:
            kind = msgspec.json.decode(data, type=_Envelope).type
        except UNREADABLE:
            return MalformedMessageError("not a JSON object with a type")
        if kind and kind not in self._known:
            return UnknownTypeError("a type this version does not know")
        path = str(error).partition(" - at ")[2] or "its root"
        return MalformedMessageError(f"a missing or mistyped field at {path}")
