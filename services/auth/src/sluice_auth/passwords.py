"""People's passwords: argon2id, in a thread, few at a time (RFC 9106, `docs/adr/0010`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# What people choose can be guessed; length is what helps (NIST SP 800-63B, section 3.1.1).
SHORTEST = 12
LONGEST = 256
# Each takes 64 MiB while it lasts.
_AT_ONCE = 2
# Whoever comes after so many that wait already would wait for seconds.
_MOST_WAITING = 40

T = TypeVar("T")

HASHER = PasswordHasher()


def acceptable(password: str) -> bool:
    """Tell whether a password is long enough, and not so long that hashing it is a burden."""
    return len(password) >= SHORTEST and len(password.encode("utf-8", "surrogatepass")) <= LONGEST


class Passwords:
    """Hashes passwords and compares them, without stopping everything else meanwhile."""

    def __init__(self, hasher: PasswordHasher = HASHER) -> None:
        self._hasher = hasher
        self._waiting = 0
        self._slots = asyncio.Semaphore(_AT_ONCE)
        # Of a password that nobody has: compared with when there is no such user, so that it takes as long.
        self._nobodys = hasher.hash("\0" * SHORTEST)

    def busy(self) -> bool:
        """Tell whether so many wait for a comparison that no more should."""
        return self._waiting >= _MOST_WAITING

    async def hash(self, password: str) -> str:
        """Give what is stored of a password."""
        return await self._away(lambda: self._hasher.hash(_bytes(password)))

    async def matches(self, password: str, stored: str | None) -> bool:
        """Tell whether `stored` is of this password; None takes as long and is of none."""
        if len(_bytes(password)) > LONGEST:
            return False
        same = await self._away(lambda: self._verify(password, stored or self._nobodys))
        return same and stored is not None

    def _verify(self, password: str, stored: str) -> bool:
        try:
            return self._hasher.verify(stored, _bytes(password))
        except (VerificationError, InvalidHashError):
            return False

    async def _away(self, work: Callable[[], T]) -> T:
        self._waiting += 1
        try:
            async with self._slots:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
