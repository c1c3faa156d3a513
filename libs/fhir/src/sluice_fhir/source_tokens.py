"""Access tokens for sources: had once, shared by all requests, renewed before they expire."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote_plus, urlencode

import msgspec
from joserfc import jwk, jwt
from joserfc.errors import JoseError
from msgspec import Struct

from sluice_contracts.errors import ItemError
from sluice_contracts.wire import UNREADABLE
from sluice_fhir.source_auth import (
    BackendServicesAuth,
    BearerAuth,
    ClientCredentialsAuth,
    NoAuth,
    SecretStyle,
    UnreadableAuth,
)
from sluice_fhir.sources import Source
from sluice_security.failure import SourceFailure
from sluice_security.guard_urls import Allowlist, Prefix, UrlRefusedError
from sluice_security.http import GuardedClient

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# SMART Backend Services: exp at most five minutes ahead; a minute is left for clocks that disagree.
_ASSERTION_SECONDS = 240
_BODY_LIMIT = 64 * 1024
_DEFAULT_LIFE = 300.0
_LONGEST_LIFE = 86400.0
_OK = 200
_THROTTLED = 429
_SERVER_ERROR = 500


class _TokenAnswer(Struct):
    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - the name of a kind of token
    expires_in: float | None = None


@dataclass(frozen=True, slots=True)
class _Token:
    headers: Mapping[str, str]
    good_until: float


class SourceTokens:
    """Gives each request to a source the headers that prove who we are.

    Parameters
    ----------
    http
        For the token endpoints.
    clock
        Unix seconds.
    pause
        How long (seconds) a failure to get a token is remembered before it is tried again.
    """

    def __init__(
        self, http: GuardedClient, *, clock: Callable[[], float] = time.time, pause: float = 5.0
    ) -> None:
        self._http = http
        self._clock = clock
        self._pause = pause
        self._tokens: dict[str, _Token] = {}
        self._failures: dict[str, tuple[float, SourceFailure]] = {}
        self._asking: dict[str, asyncio.Task[_Token]] = {}

    async def headers(self, source: Source) -> Mapping[str, str]:
        """Give the credentials of a request to `source`, empty if it asks for none.

        Raises
        ------
        SourceFailure
            `SOURCE_AUTHORIZATION`: no token could be had.
        """
        auth = source.auth
        if isinstance(auth, NoAuth):
            return {}
        if isinstance(auth, BearerAuth):
            return {"Authorization": f"Bearer {auth.token}"}
        if isinstance(auth, UnreadableAuth):
            raise SourceFailure(ItemError.SOURCE_AUTHORIZATION)
        key = _key(source)
        token = self._tokens.get(key)
        if token is not None and self._clock() < token.good_until:
            return token.headers
        return (await self._ask_once(key, auth)).headers

    def refused(self, source: Source, headers: Mapping[str, str]) -> bool:
        """Say that the source answered 401 to these headers; tells whether others may be had."""
        key = _key(source)
        token = self._tokens.get(key)
        if token is not None and token.headers is headers:
            del self._tokens[key]
        return isinstance(source.auth, (ClientCredentialsAuth, BackendServicesAuth))

    async def _ask_once(self, key: str, auth: ClientCredentialsAuth | BackendServicesAuth) -> _Token:
        failed_at, failure = self._failures.get(key, (float("-inf"), None))
        if failure is not None and self._clock() - failed_at < self._pause:
            raise failure.called(failure.code)
        task = self._asking.get(key)
        if task is None:
            # The request that happens to ask first may be cancelled; the others still want the answer.
            task = asyncio.create_task(self._ask(auth))
            self._asking[key] = task
            task.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(task)

    def _asked(self, key: str, done: asyncio.Task[_Token]) -> None:
        self._asking.pop(key, None)
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            self._failures.pop(key, None)
            # Tokens of what the source's credentials were before are of no use any more.
            source = key.rpartition("/")[0]
            self._tokens = {
                other: token for other, token in self._tokens.items() if other.rpartition("/")[0] != source
            }
            self._tokens[key] = done.result()
        elif isinstance(error, SourceFailure):
            self._failures[key] = (self._clock(), error)

    async def _ask(self, auth: ClientCredentialsAuth | BackendServicesAuth) -> _Token:
        form = {"grant_type": "client_credentials"}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        credentials: dict[str, str] = {}
        if auth.scope:
            form["scope"] = auth.scope
        if isinstance(auth, BackendServicesAuth):
            form["client_assertion_type"] = _ASSERTION
            form["client_assertion"] = self._assertion(auth)
        elif auth.style is SecretStyle.BASIC:
            pair = f"{quote_plus(auth.client_id)}:{quote_plus(auth.client_secret)}"
            credentials["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            form["client_id"] = auth.client_id
            form["client_secret"] = auth.client_secret
        began = self._clock()
        try:
            place = Prefix.parse(auth.token_url, loopback=self._http.loopback)
        except UrlRefusedError:
            raise SourceFailure(ItemError.SOURCE_ADDRESS_REFUSED) from None
        try:
            async with await self._http.post(
                auth.token_url,
                Allowlist((place,)),
                data=urlencode(form).encode(),
                headers=headers,
                credentials=credentials,
            ) as response:
                status = response.status
                if status != _OK:
                    raise _refused(status)
                body = await response.read(_BODY_LIMIT, ItemError.SOURCE_AUTHORIZATION)
        except SourceFailure as failure:
            if failure.code in (ItemError.SOURCE_ADDRESS_REFUSED, ItemError.SOURCE_AUTHORIZATION):
                raise
            raise SourceFailure(
                ItemError.SOURCE_AUTHORIZATION, failure.status, retry=failure.retry, after=failure.after
            ) from None
        return _read_answer(body, status, began)

    def _assertion(self, auth: BackendServicesAuth) -> str:
        if auth.key is None:
            raise SourceFailure(ItemError.SOURCE_AUTHORIZATION)
        now = int(self._clock())
        claims = {
            "iss": auth.client_id,
            "sub": auth.client_id,
            "aud": auth.token_url,
            "iat": now,
            "exp": now + _ASSERTION_SECONDS,
            "jti": secrets.token_urlsafe(24),
        }
        header = {"alg": auth.algorithm.value, "kid": str(auth.key["kid"]), "typ": "JWT"}
        try:
            return jwt.encode(header, claims, jwk.import_key(auth.key), algorithms=[auth.algorithm.value])
        except (JoseError, ValueError):
            raise SourceFailure(ItemError.SOURCE_AUTHORIZATION) from None


def _key(source: Source) -> str:
    return f"{source.id}/{source.revision}"


def _refused(status: int) -> SourceFailure:
    passing = status == _THROTTLED or status >= _SERVER_ERROR
    return SourceFailure(ItemError.SOURCE_AUTHORIZATION, status, retry=passing)


def _read_answer(body: bytes, status: int, began: float) -> _Token:
    try:
        answer = msgspec.json.decode(body, type=_TokenAnswer)
    except UNREADABLE:
        raise SourceFailure(ItemError.SOURCE_AUTHORIZATION, status) from None
    token = answer.access_token
    if answer.token_type.lower() != "bearer" or not token.isascii() or not token.isprintable() or not token:
        raise SourceFailure(ItemError.SOURCE_AUTHORIZATION, status)
    life = min(max(answer.expires_in if answer.expires_in is not None else _DEFAULT_LIFE, 0.0), _LONGEST_LIFE)
    # Half a minute, or a tenth of a short life, is left for the request that carries it.
    return _Token({"Authorization": f"Bearer {token}"}, began + life - min(30.0, life / 10))
