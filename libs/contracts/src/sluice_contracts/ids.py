"""Job ids that carry their own proof, so that a job is known the moment its client hears of it.

A job's row appears when the status service has folded its first event, a little after the 202. Until then a
poll is answered from the id alone: it is a UUID (version 8, RFC 9562 section 5.8) that holds the time of
acceptance and a MAC over that time, a nonce and the job's owner. Whoever polls with the owner's token and an
id that verifies is told SUBMITTED; anyone else is told that there is no such job.

Layout, most significant first: 48 bits Unix milliseconds, version, 12 bits nonce, variant, 20 bits nonce,
42 bits MAC. A forged MAC gains nothing but the word SUBMITTED about a job that does not exist.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from itertools import groupby
from uuid import UUID

_MAC_BITS = 42
_NONCE_BITS = 32
_LONGEST_ITEM = 10
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
MOST_IN_LOT = 100
"""The most items that one command may be about."""
# A job id is written one way only, so that one job has one key on Kafka and one row.
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


Keys = bytes | tuple[bytes, ...]
"""A key, or several: the first is used, and what was made with the others stays good."""


def each_of(keys: Keys) -> tuple[bytes, ...]:
    """Give the keys, newest first."""
    return (keys,) if isinstance(keys, bytes) else keys


def derived(secrets: Keys, purpose: bytes) -> tuple[bytes, ...]:
    """Give each secret's key for one purpose."""
    return tuple([hmac.digest(secret, purpose, hashlib.sha256) for secret in each_of(secrets)])


def _mac(key: bytes, millis: int, nonce: int, owner: str) -> int:
    text = f"{millis}.{nonce}.{owner}".encode()
    digest = hmac.digest(key, text, hashlib.sha256)
    return int.from_bytes(digest[:8]) >> (64 - _MAC_BITS)


def job_id(keys: Keys, owner: str, at: float, nonce: int) -> str:
    """Make the id of a job that `owner` is given at `at` (Unix seconds); `nonce` is 32 random bits."""
    millis = int(at * 1000)
    nonce &= (1 << _NONCE_BITS) - 1
    value = millis << 80
    value |= 0x8 << 76
    value |= (nonce >> 20) << 64
    value |= 0b10 << 62
    value |= (nonce & 0xFFFFF) << _MAC_BITS
    value |= _mac(each_of(keys)[0], millis, nonce, owner)
    return str(UUID(int=value))


def accepted_at(keys: Keys, owner: str, job: str) -> float | None:
    """Give the time (Unix seconds) at which `owner` was given this id, or None if it never was."""
    if not _CANONICAL.fullmatch(job):
        return None
    value = UUID(job).int
    millis = value >> 80
    nonce = ((value >> 64) & 0xFFF) << 20 | (value >> _MAC_BITS) & 0xFFFFF
    given = value & ((1 << _MAC_BITS) - 1)
    macs = [_mac(key, millis, nonce, owner) for key in each_of(keys)]
    if not any(hmac.compare_digest(given.to_bytes(6), mac.to_bytes(6)) for mac in macs):
        return None
    return millis / 1000


def is_job_id(text: str) -> bool:
    """Tell whether this can be a job's id; what is not must not reach a statement with others' rows."""
    return _UUID.fullmatch(text) is not None


def item_key(job: str, item: int) -> str:
    """Give the Kafka key of a command about one item."""
    return f"{job}/{item}"


def item_of_key(key: bytes | None) -> tuple[str, int] | None:
    """Give the job and the item that `item_key` made the key of, None if it is no such key."""
    job, _, item = (key or b"").decode("ascii", "replace").rpartition("/")
    if not (is_job_id(job) and item.isdigit() and len(item) < _LONGEST_ITEM):
        return None
    return job, int(item)


def items_text(items: Iterable[int]) -> str:
    """Write items as ranges, in order, such as `0-4,7`."""
    text: list[str] = []
    ordered = sorted(set(items))
    for _, run in groupby(enumerate(ordered), lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in run]
        text.append(str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}")
    return ",".join(text)


def items_of_text(text: str) -> tuple[int, ...]:
    """Give the items that `items_text` wrote so; none if this is no such text, or names more than a lot's."""
    items: list[int] = []
    for part in text.split(","):
        ends = _RANGE.fullmatch(part)
        if ends is None:
            return ()
        first, last = int(ends[1]), int(ends[2] or ends[1])
        if not first <= last < first + MOST_IN_LOT - len(items):
            return ()
        items += range(first, last + 1)
    return tuple(items)
