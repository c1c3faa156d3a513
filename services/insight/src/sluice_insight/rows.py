"""Faust's tables as mappings of our own structs, and where Faust writes what changes in them."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, Generic, TypeVar

import faust
import msgspec

from sluice_insight.folding import partition_of

T = TypeVar("T", bound=msgspec.Struct)


class PlacedTable(faust.Table[str, bytes]):
    """A table whose keys begin with the partition that they belong to.

    Faust takes the partition of the event that is being handled, which is wrong for all but the last of a
    batch, and none where a timer changes the table.
    """

    mundane_level = "debug"

    def partition_for_key(self, key: Any) -> int:
        """Give the partition of the changelog that the row is written to."""
        return partition_of(key)


class Rows(MutableMapping[str, T], Generic[T]):
    """A table of structs: kept as bytes, the same in memory as in the changelog.

    What is read is a copy; put it back to change the row.
    """

    def __init__(self, table: MutableMapping[str, bytes], kind: type[T]) -> None:
        self._table = table
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(kind)

    def __getitem__(self, key: str) -> T:
        value = self._table.get(key)
        if value is None:
            raise KeyError(key)
        return self._decoder.decode(value)

    def __setitem__(self, key: str, row: T) -> None:
        self._table[key] = self._encoder.encode(row)

    def __delitem__(self, key: str) -> None:
        del self._table[key]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._table))

    def __len__(self) -> int:
        return len(self._table)
