"""Keys that a client registered by address: fetched when needed, kept no longer than their server allows.

SMART App Launch 2.2, "Backend Services": the URL is preferred to registration by value, because the client
can then rotate its keys by itself.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sluice_auth.metadata import MOST_KEYS, KeySet, serves
from sluice_contracts.wire import UNREADABLE
from sluice_security.jose import RejectedError

# Without a word of the server's: long enough to spare it, short enough to follow a rotation.
_USUAL = 300.0
_LONGEST = 3_600.0
# A key set is not asked for again sooner than this because of a key id that it did not have, or a failure:
# whoever sends nonsense in a client's name must not make this server knock at the client's door.
_PAUSE = 10.0
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?(\d{1,9})\"?\s*(?:,|$)", re.IGNORECASE)
_NEVER_KEPT = re.compile(r"(?:^|,)\s*(?:no-store|no-cache)\b", re.IGNORECASE)


class KeysUnreachableError(Exception):
    """The key set could not be read. Nothing of its address or content is in this."""


Fetch = Callable[[str], Awaitable[tuple[bytes, str]]]
"""From an address, the key set's bytes and its `Cache-Control`; or KeysUnreachableError."""


def lifetime(cache_control: str) -> float:
    """Give the seconds that an answer with this `Cache-Control` may be kept (RFC 9111 section 5.2.2)."""
    if _NEVER_KEPT.search(cache_control):
        return 0.0
    match = _MAX_AGE.search(cache_control)
    return _USUAL if match is None else min(float(match[1]), _LONGEST)


@dataclass(slots=True)
class _Kept:
    keys: tuple[dict[str, Any], ...] | None = None
    at: float = float("-inf")
    until: float = float("-inf")
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)


class RemoteKeys:
    """The key sets of many clients.

    Parameters
    ----------
    fetch
        Reads one.
    monotonic
        A clock in seconds.
    most
        How many to keep.
    """

    def __init__(self, fetch: Fetch, *, monotonic: Callable[[], float], most: int = 1_000) -> None:
        self._fetch = fetch
        self._now = monotonic
        self._most = most
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def at(self, url: str, kid: str) -> tuple[dict[str, Any], ...]:
        """Give the usable keys at `url`, asking once more if `kid` is not among those that are kept.

        Raises
        ------
        RejectedError
            They cannot be read.
        """
        kept = self._kept.setdefault(url, _Kept())
        self._kept.move_to_end(url)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        async with kept.reading:
            if self._stale(kept, kid):
                await self._read(url, kept)
        if kept.keys is None:
            raise RejectedError("keys_unreachable", "the registered key set cannot be read")
        return kept.keys

    def _stale(self, kept: _Kept, kid: str) -> bool:
        now = self._now()
        if kept.keys is not None and now >= kept.until:
            return True
        known = kept.keys is not None and any(key["kid"] == kid for key in kept.keys)
        return not known and now - kept.at >= _PAUSE

    async def _read(self, url: str, kept: _Kept) -> None:
        kept.at = self._now()
        try:
            body, cache_control = await self._fetch(url)
            kept.keys = _usable(body)
            kept.until = kept.at + lifetime(cache_control)
        except (KeysUnreachableError, *UNREADABLE):
            # Whoever names a key that is not there has the set read again. What its server allowed to keep is
            # not given up for that, or a stranger could lock a client out while its server is away.
            if kept.at >= kept.until:
                kept.keys = None


def _usable(body: bytes) -> tuple[dict[str, Any], ...]:
    """Leave out what cannot verify an assertion: a set may hold keys for other purposes."""
    keys = msgspec.json.decode(body, type=KeySet).keys[: 10 * MOST_KEYS]
    return tuple(key for key in keys if isinstance(key.get("kid"), str) and serves(key))
