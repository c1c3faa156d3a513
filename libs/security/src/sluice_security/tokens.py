"""Access tokens as a resource server sees them: verified locally, in microseconds the second time.

The authorization server publishes its keys and what it has revoked; a `TokenVerifier` keeps both at hand and
needs nobody else for a request.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from sluice_security import jose
from sluice_security.access_tokens import InvalidToken, Principal, check, revocation_digest

__all__ = [
    "Authority",
    "AuthorityUnavailable",
    "InvalidToken",
    "Principal",
    "TokenVerifier",
    "check",
    "revocation_digest",
]

log = structlog.get_logger(__name__)


class AuthorityUnavailable(Exception):  # noqa: N818 - a state, not a fault of this process
    """The authorization server's keys or revocations cannot be had: answer 503, not 401."""


class Authority(Protocol):
    """Where keys and revocations come from. Any exception means: not now."""

    async def keys(self) -> list[dict[str, Any]]:
        """Give the public JWKs."""

    async def revoked(self) -> dict[str, float]:
        """Give, by `revocation_digest`, the Unix time up to which tokens issued are void."""


@dataclass(slots=True)
class _Known:
    """What is known of the authority, and since when (monotonic seconds)."""

    keys: dict[str, jose.Key] = field(default_factory=dict)
    keys_at: float = float("-inf")
    revoked: dict[str, float] = field(default_factory=dict)
    revoked_at: float = float("-inf")
    revoked_tried: float = float("-inf")
    keys_tried: float = float("-inf")
    generation: int = 0


@dataclass(slots=True)
class _Entry:
    principal: Principal
    generation: int


class TokenVerifier:
    """Verifies access tokens for one audience.

    Revocations are read again every `refresh` seconds while the verifier is started, and otherwise by the
    first `verify` that finds them older than three times that. When the authority is away, tokens are judged
    by what was last known, for at most `patience` seconds.

    Parameters
    ----------
    authority
        Gives keys and revocations.
    issuer, audience
        What `iss` and `aud` must be, exactly, but for a slash at the end of a configured address.
    size
        How many verified tokens to remember.
    now
        The wall clock, Unix seconds.
    monotonic
        A clock for ages.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        issuer: str,
        audience: str,
        refresh: float = 2.0,
        keys_refresh: float = 60.0,
        patience: float = 120.0,
        size: int = 4096,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authority = authority
        self._issuer = issuer.rstrip("/")
        self._audiences = frozenset({audience.rstrip("/")})
        self._refresh = refresh
        self._keys_refresh = keys_refresh
        self._patience = patience
        self._size = size
        self._now = now
        self._monotonic = monotonic
        self._known = _Known()
        self._seen: OrderedDict[bytes, _Entry] = OrderedDict()
        self._reading = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def verify(self, token: str) -> Principal:
        """Give the token's principal.

        Raises
        ------
        InvalidToken
            It must not be accepted.
        AuthorityUnavailable
            It cannot be judged now.
        """
        if self._monotonic() - self._known.revoked_at > 3 * self._refresh:
            await self._renew_revoked()
        name = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        entry = self._seen.get(name)
        if entry is None:
            entry = _Entry(await self._check(token), -1)
            self._remember(name, entry)
        elif entry.principal.expires <= self._now():
            del self._seen[name]
            raise InvalidToken("expired", "The token has expired.")
        if entry.generation != self._known.generation:
            self._refuse_revoked(entry.principal)
            entry.generation = self._known.generation
        return entry.principal

    async def start(self) -> None:
        """Read keys and revocations, if they can be had, and keep them fresh from now on."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep_fresh(), name="token revocations")

    async def close(self) -> None:
        """Stop refreshing."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def __aenter__(self) -> TokenVerifier:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _check(self, token: str) -> Principal:
        if self._monotonic() - self._known.keys_at > self._keys_refresh:
            await self._renew_keys(self._keys_refresh)
        try:
            return self._checked(token)
        except InvalidToken as error:
            if error.code != "unknown_key":
                raise
        # The key may be newer than what is known. Strangers' tokens must not make this a flood.
        await self._renew_keys(self._refresh)
        return self._checked(token)

    def _checked(self, token: str) -> Principal:
        return check(token, self._known.keys, issuer=self._issuer, audiences=self._audiences, now=self._now())

    def _refuse_revoked(self, principal: Principal) -> None:
        revoked = self._known.revoked
        for kind, identifier in (("token", principal.jti), ("client", principal.client)):
            if revoked and principal.issued <= revoked.get(
                revocation_digest(kind, identifier), float("-inf")
            ):
                raise InvalidToken("revoked", "The token has been revoked.")

    def _remember(self, name: bytes, entry: _Entry) -> None:
        self._seen[name] = entry
        while len(self._seen) > self._size:
            self._seen.popitem(last=False)

    async def _keep_fresh(self) -> None:
        while True:
            try:
                await self._renew_revoked()
                if self._monotonic() - self._known.keys_at > self._keys_refresh:
                    await self._renew_keys(self._keys_refresh)
            except AuthorityUnavailable as error:
                log.warning("the authorization server cannot be asked", reason=str(error))
            await asyncio.sleep(self._refresh)

    async def _renew_revoked(self) -> None:
        async with self._reading:
            # While the authority is away, only one request in each interval waits for it.
            if self._monotonic() - self._known.revoked_tried < self._refresh / 2:
                self._bear(None, self._known.revoked_at)
                return
            self._known.revoked_tried = self._monotonic()
            try:
                revoked = await self._authority.revoked()
            except Exception as error:  # whatever the reason, the answer is the same: judge by what is known
                self._bear(error, self._known.revoked_at)
                return
            if revoked != self._known.revoked:
                self._known.revoked = revoked
                self._known.generation += 1
            self._known.revoked_at = self._monotonic()

    async def _renew_keys(self, older_than: float) -> None:
        async with self._reading:
            now = self._monotonic()
            if now - self._known.keys_at < older_than or now - self._known.keys_tried < self._refresh / 2:
                self._bear(None, self._known.keys_at)
                return
            self._known.keys_tried = now
            try:
                published = await self._authority.keys()
            except Exception as error:  # as above
                self._bear(error, self._known.keys_at)
                return
            self._known.keys = _usable(published)
            self._known.keys_at = self._monotonic()

    def _bear(self, error: Exception | None, known_at: float) -> None:
        if self._monotonic() - known_at > self._patience:
            raise AuthorityUnavailable(type(error).__name__ if error else "away") from error


def _usable(published: list[dict[str, Any]]) -> dict[str, jose.Key]:
    keys: dict[str, jose.Key] = {}
    for data in published:
        try:
            key = jose.import_public(data)
        except jose.RejectedError as error:
            log.warning("a published key was left out", code=error.code)
            continue
        if key is not None and key.kid is not None:
            keys[key.kid] = key
    return keys
