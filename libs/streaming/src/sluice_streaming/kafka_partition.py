"""Which partition a key belongs to."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence

_GOLDEN = 2_654_435_769
"""2^32 by the golden ratio: multiples of it, modulo 2^32, lie as far apart as they can (Knuth 6.4)."""


def partition_of(key: bytes | None, partitions: Sequence[int], available: Sequence[int]) -> int:
    """Give a key's partition: by CRC-32 as librdkafka does, numbered keys in turn; keyless ones go anywhere.

    aiokafka's own choice, the Java client's murmur2, is written in Python and took a quarter of a worker's
    time. Every producer of these topics is this one, so they agree.

    `job/0`, `job/1` and so on are one job's work, which processes share by partitions: chance, and CRC-32 of
    keys that are so alike, gave one of two processes three quarters of it.
    """
    if key is None:
        return random.choice(available or partitions)  # noqa: S311 - spreading, not secrecy
    count = len(partitions)
    name, _, number = key.rpartition(b"/")
    if not name or not number.isdigit() or len(number) > 9:
        return zlib.crc32(key) % count
    # A run of as many keys as there are partitions has one in each. Where runs begin is spread too, for
    # whoever numbers by fifties.
    run, place = divmod(int(number), count)
    shift = (run * _GOLDEN & 0xFFFFFFFF) * count >> 32
    return (zlib.crc32(name) + place + shift) % count
