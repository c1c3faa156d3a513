"""Which partition a key belongs to."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence


def partition_of(key: bytes | None, partitions: Sequence[int], available: Sequence[int]) -> int:
    """Give a key's partition, by CRC-32 as librdkafka does; keyless records go anywhere.

    aiokafka's own choice, the Java client's murmur2, is written in Python and took a quarter of a worker's
    time. Every producer of these topics is this one, so they agree.
    """
    if key is None:
        return random.choice(available or partitions)  # noqa: S311 - spreading, not secrecy
    return zlib.crc32(key) % len(partitions)
