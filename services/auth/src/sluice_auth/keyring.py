"""The keys that access tokens are signed with: made here, sealed, shared by all processes, rotated on time.

A key is published before it signs, so that whoever verifies has it in time, and stays published until the
last token it signed has expired. All processes read the same rows; one at a time decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Any, cast

import msgspec
from joserfc.jwk import ECKey

from sluice_auth.model import Action, Entry, SealedKey
from sluice_auth.ports import KeyStore
from sluice_security.sealing import Seal, SealBrokenError
from sluice_settings import MisfitSettingError

ALGORITHM = "ES256"
PURPOSE = "token signing keys"


@dataclass(frozen=True, slots=True)
class Schedule:
    """How keys follow each other; all in seconds.

    Parameters
    ----------
    period
        How long a key signs.
    lead
        How long before that it is published: longer than anyone caches the key set.
    keep
        How long it stays published after its successor took over: longer than any token lives.
    """

    period: float = 30 * 86_400.0
    lead: float = 600.0
    keep: float = 900.0


class Rotation(Enum):
    """When to bring in a new key."""

    DUE = "when the schedule says so"
    NEXT = "publish a new key now, to sign after the usual lead"
    AT_ONCE = "the present keys are compromised: sign with a new one now and withdraw all others"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An opened key."""

    kid: str
    key: ECKey
    active_at: float


class KeysUnreadableError(MisfitSettingError):
    """The stored keys were sealed under another secret: SLUICE_SECRET is not what it was."""


class NoKeyError(RuntimeError):
    """The keys have not been read yet."""


class Keyring:
    """The signing keys, as this process last read them.

    Parameters
    ----------
    store
        Where all processes' keys are.
    seal
        Opens and closes them.
    now
        Unix seconds.
    """

    def __init__(self, store: KeyStore, seal: Seal, *, schedule: Schedule, now: Callable[[], float]) -> None:
        self._store = store
        self._seal = seal
        self._schedule = schedule
        self._now = now
        self._keys: list[SigningKey] = []

    @property
    def ready(self) -> bool:
        """Whether there is a key to sign with."""
        return bool(self._keys)

    async def refresh(self, rotation: Rotation = Rotation.DUE) -> None:
        """Read the keys, after bringing in and withdrawing what is due.

        Raises
        ------
        KeysUnreadableError
            They do not open. The keys read before stay in use.
        """
        rows = await self._store.change_keys(
            lambda present: self._plan(present, rotation),
            lambda: Entry(at=self._now(), action=Action.ROTATE_KEYS),
        )
        known = {key.kid: key for key in self._keys}
        opened = [known.get(row.kid) or self._open(row) for row in rows]
        self._keys = sorted(opened, key=lambda key: (key.active_at, key.kid))

    def signer(self) -> SigningKey:
        """Give the key to sign with now.

        Raises
        ------
        NoKeyError
            `refresh` was never successful.
        """
        now = self._now()
        active = [key for key in self._keys if key.active_at <= now]
        if active:
            return active[-1]
        if not self._keys:
            raise NoKeyError("no signing key has been read yet")
        return self._keys[0]  # this machine's clock is behind the one that made the key

    def public(self) -> dict[str, ECKey]:
        """Give all keys that tokens may be verified with, by id."""
        return {key.kid: key.key for key in self._keys}

    def published(self) -> list[dict[str, Any]]:
        """Give the public JWKs (RFC 7517 section 5)."""
        return [cast("dict[str, Any]", key.key.as_dict(private=False)) for key in self._keys]

    def _plan(self, present: Sequence[SealedKey], rotation: Rotation) -> tuple[list[SealedKey], list[str]]:
        now, schedule = self._now(), self._schedule
        ordered = sorted(present, key=lambda key: (key.active_at, key.kid))
        if rotation is Rotation.AT_ONCE or not ordered:
            return [self._make(now)], [key.kid for key in ordered]
        newest = ordered[-1]
        due = now >= newest.active_at + schedule.period - schedule.lead
        # A key that is waiting for its time is the rotation that was asked for.
        wanted = rotation is Rotation.NEXT and newest.active_at <= now
        added = [self._make(now + schedule.lead)] if due or wanted else []
        dropped = [
            key.kid for key, successor in pairwise(ordered) if successor.active_at + schedule.keep <= now
        ]
        return added, dropped

    def _make(self, active_at: float) -> SealedKey:
        key = ECKey.generate_key("P-256", {"use": "sig", "alg": ALGORITHM})
        kid = key.thumbprint()
        private = msgspec.json.encode({**key.as_dict(private=True), "kid": kid})
        return SealedKey(kid, self._seal.close(private, kid), self._now(), active_at)

    def _open(self, row: SealedKey) -> SigningKey:
        try:
            private = self._seal.open(row.sealed, row.kid)
        except SealBrokenError:
            raise KeysUnreadableError(
                "SLUICE_SECRET: the signing keys were sealed under another one; give that, too"
            ) from None
        return SigningKey(row.kid, ECKey.import_key(msgspec.json.decode(private)), row.active_at)
