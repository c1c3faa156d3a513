"""Outgoing HTTP: every call Sluice makes to a server that is not its own goes through `GuardedClient`.

What is asked for, what is dialled and what is sent along are checked anew at each hop (specification
"Guarded HTTP"), and whatever goes wrong is a `SourceFailure`, never an exception of the HTTP library: those
hold addresses, which must not reach a log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from sluice_contracts.errors import ItemError
from sluice_security.failure import SourceFailure
from sluice_security.guard import (
    Address,
    Network,
    dialler,
    is_loopback,
    is_loopback_host,
    permitting,
)
from sluice_security.guard_urls import Allowlist
from sluice_security.http_limits import HttpLimits
from sluice_security.http_response import GuardedResponse, failure_of
from sluice_telemetry.spans import Kind, span

__all__ = ["GuardedClient", "GuardedResponse", "HttpLimits", "SourceFailure"]

NONE: Mapping[str, str] = {}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class GuardedClient:
    """The one way out. Open it once per process (`async with`) and share it; it keeps connections alive.

    Parameters
    ----------
    limits
        What a source may cost.
    loopback
        Allow http and this machine's addresses to sources registered there (development only).
    networks
        Networks that are not public and may be dialled all the same, such as a hospital's own.
    user_agent
        What we call ourselves.
    """

    def __init__(
        self,
        *,
        limits: HttpLimits | None = None,
        loopback: bool = False,
        networks: tuple[Network, ...] = (),
        user_agent: str = "sluice",
        resolver: aiohttp.abc.AbstractResolver | None = None,
    ) -> None:
        self.limits = limits or HttpLimits()
        self.loopback = loopback
        self._networks = networks
        self._resolver = resolver
        self._user_agent = user_agent
        self._public: aiohttp.ClientSession | None = None
        self._local: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._public = self._session(permitting(self._networks))
        # This machine is dialled by a session of its own, so that a public name that turns into a loopback
        # address is refused even where loopback sources are allowed.
        if self.loopback:
            self._local = self._session(is_loopback)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in (self._public, self._local):
            if session is not None:
                await session.close()
        self._public = self._local = None

    async def get(
        self,
        url: str | URL,
        allowed: Allowlist,
        *,
        headers: Mapping[str, str] = NONE,
        credentials: Mapping[str, str] = NONE,
    ) -> GuardedResponse:
        """GET, following redirects within what is allowed.

        Parameters
        ----------
        url
            Absolute.
        allowed
            Where this request and every redirect of it must stay.
        headers
            Sent at every hop.
        credentials
            Headers that must not leave the first hop's origin: dropped, all of them and for good, at the
            first redirect to another one.

        Raises
        ------
        SourceFailure
            `SOURCE_ADDRESS_REFUSED`, `SOURCE_TIMEOUT`, `SOURCE_UNAVAILABLE`, or `SOURCE_REJECTED` when the
            answer makes no sense. A status of 400 and more is an answer, not a failure.
        """
        return await self.follow(allowed.check(url), allowed, headers=headers, credentials=credentials)

    async def follow(
        self,
        target: URL,
        allowed: Allowlist,
        *,
        headers: Mapping[str, str] = NONE,
        credentials: Mapping[str, str] = NONE,
    ) -> GuardedResponse:
        """GET what `allowed.check` gave just now; otherwise as `get`."""
        for _ in range(self.limits.redirects + 1):
            response = await self._send("GET", target, headers, credentials)
            if response.status not in _REDIRECTS:
                return GuardedResponse(response, target, self.limits)
            status, location = response.status, response.headers.get("Location", "")
            response.release()
            following = allowed.check(_joined(target, location, status), status)
            if following.origin() != target.origin():
                credentials = NONE
            target = following
        raise SourceFailure(ItemError.SOURCE_REJECTED, status)

    async def post(
        self,
        url: str | URL,
        allowed: Allowlist,
        *,
        data: bytes,
        headers: Mapping[str, str] = NONE,
        credentials: Mapping[str, str] = NONE,
    ) -> GuardedResponse:
        """POST `data`. A redirect is an answer like any other: a body with secrets is not sent elsewhere.

        Raises
        ------
        SourceFailure
            As for `get`.
        """
        target = allowed.check(url)
        response = await self._send("POST", target, headers, credentials, data)
        return GuardedResponse(response, target, self.limits)

    async def delete(
        self, url: str | URL, allowed: Allowlist, *, credentials: Mapping[str, str] = NONE
    ) -> GuardedResponse:
        """DELETE. A redirect is an answer like any other: what is deleted is what was named.

        Raises
        ------
        SourceFailure
            As for `get`.
        """
        target = allowed.check(url)
        response = await self._send("DELETE", target, NONE, credentials)
        return GuardedResponse(response, target, self.limits)

    async def _send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        credentials: Mapping[str, str],
        data: bytes | None = None,
    ) -> aiohttp.ClientResponse:
        session = self._session_for(url)
        sent = {**headers, **credentials} if credentials else headers
        call = span(method, Kind.CLIENT)
        call.set("server.address", url.raw_host)  # never the path: it names whom a resource is about
        outcome: str | None = "abandoned"
        try:
            async with asyncio.timeout(self.limits.answer):
                response = await session.request(method, url, headers=sent, data=data, allow_redirects=False)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            failure = failure_of(error, None)
            outcome = failure.code
            raise failure from None
        else:
            call.set("http.response.status_code", response.status)
            outcome = None
            return response
        finally:
            call.end(outcome)

    def _session_for(self, url: URL) -> aiohttp.ClientSession:
        if self._public is None:
            raise RuntimeError("the client is not open")
        if is_loopback_host(url.raw_host or ""):
            if self._local is None:
                raise SourceFailure(ItemError.SOURCE_ADDRESS_REFUSED)
            return self._local
        if url.scheme != "https":
            raise SourceFailure(ItemError.SOURCE_ADDRESS_REFUSED)
        return self._public

    def _session(self, permits: Callable[[Address], bool]) -> aiohttp.ClientSession:
        limits = self.limits
        connector = aiohttp.TCPConnector(
            # How many requests a source gets at once is its throttle's business.
            limit=0,
            socket_factory=dialler(permits),
            keepalive_timeout=limits.keepalive,
            ttl_dns_cache=30,
            resolver=self._resolver,
        )
        return aiohttp.ClientSession(
            connector=connector,
            # What is read from one source for one tenant must not colour the next request.
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            read_bufsize=limits.read_buffer,
            headers={"User-Agent": self._user_agent, "Accept-Encoding": "gzip, deflate"},
            timeout=aiohttp.ClientTimeout(
                total=None, connect=limits.connect, sock_connect=limits.connect, sock_read=limits.read_idle
            ),
        )


def _joined(base: URL, location: str, status: int) -> URL:
    try:
        return base.join(URL(location)) if location else URL()
    except ValueError:
        raise SourceFailure(ItemError.SOURCE_ADDRESS_REFUSED, status) from None
