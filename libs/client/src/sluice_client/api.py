"""Calls to the service: tokens, JSON, pages; what the parts of the client are made with."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from sluice_client.errors import AuthenticationError, SluiceError
from sluice_client.models import Page
from sluice_client.oauth import AnyCredentials, Authority, TokenKeeper
from sluice_client.transport import Answer, Patience, Transport, refusal
from sluice_contracts.wire import UNREADABLE

T = TypeVar("T")

PAGE = 100
"""The most entries the service gives on one page."""


class Api:
    """One service, called as one client; an asynchronous context manager. See `SluiceClient`."""

    def __init__(
        self,
        url: str,
        *,
        auth_url: str | None = None,
        credentials: AnyCredentials | None = None,
        scopes: Sequence[str] | None = None,
        patience: Patience | None = None,
        ca: Path | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._auth_url = (auth_url or url).rstrip("/")
        self._credentials = credentials
        self._scopes = scopes
        self._patience = patience or Patience()
        self._ca = ca
        self._session: aiohttp.ClientSession | None = None
        self._parts: tuple[Transport, Authority, TokenKeeper] | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=120, sock_connect=10)
        headers = {"User-Agent": "sluice-client"}
        connector = aiohttp.TCPConnector(ssl=True if self._ca is None else trusting(self._ca))
        self._session = aiohttp.ClientSession(timeout=timeout, headers=headers, connector=connector)
        transport = Transport(self._session, self._patience)
        authority = Authority(transport, self._auth_url)
        self._parts = transport, authority, TokenKeeper(authority, self._credentials, self._scopes)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
        self._session = self._parts = None

    @property
    def transport(self) -> Transport:
        """Sends requests."""
        return self._open()[0]

    @property
    def authority(self) -> Authority:
        """The authorization server."""
        return self._open()[1]

    @property
    def tokens(self) -> TokenKeeper:
        """Keeps the access token."""
        return self._open()[2]

    def _open(self) -> tuple[Transport, Authority, TokenKeeper]:
        if self._parts is None:
            raise SluiceError("The client is not open.", "Use it in `async with`.")
        return self._parts

    async def pages(self, path: str, kind: type[T], query: Mapping[str, Any]) -> AsyncIterator[T]:
        """Go through all entries of a list, page by page."""
        offset = 0
        while True:
            page = await self.get(path, Page[kind], {**query, "limit": PAGE, "offset": offset})  # type: ignore[valid-type]
            for item in page.items:
                yield item
            offset += len(page.items)
            if len(page.items) < PAGE:
                return

    async def get(self, path: str, kind: type[T], query: Mapping[str, Any] | None = None) -> T:
        """Get something."""
        return await self.call("GET", path, kind, query=query)

    async def call(self, method: str, path: str, kind: type[T], **more: Any) -> T:
        """Send a request and read its answer as `kind`; `more` are the arguments of `send`."""
        return decoded((await self.send(method, path, **more)).body, kind)

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
    ) -> Answer:
        """Send a request with a token; get a new one if that is refused.

        `path` may be an address that the service gave. `body` becomes JSON; what is None or empty in `query`
        is left out. See `Transport.send`.
        """
        url = self.own(path)
        fields = dict(headers or {})
        data = None
        if body is not None:
            data = msgspec.json.encode(body)
            fields.setdefault("Content-Type", "application/json")
        given = {key: value for key, value in (query or {}).items() if value not in (None, [])}
        pairs = [(key, str(one)) for key, value in given.items() for one in _several(value)]
        for last in (False, True):
            token = await self.tokens.get()
            fields["Authorization"] = f"Bearer {token}"
            try:
                return await self.transport.send(
                    method,
                    url,
                    headers=fields,
                    params=pairs or None,
                    data=data,
                    repeatable=repeatable,
                )
            except AuthenticationError as error:
                # A token may be revoked, or its key replaced, before its time is over.
                if last or error.status != 401:
                    raise
                self.tokens.drop(token)
        raise AssertionError  # pragma: no cover - the loop ends by returning or raising

    @asynccontextmanager
    async def stream(
        self, path: str, headers: Mapping[str, str] | None = None, *, idle: float = 60.0
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask with a token for what is read as it comes; get a new one if that is refused.

        Parameters
        ----------
        idle
            The most seconds in which nothing comes.

        Raises
        ------
        ApiError
            The service refused it. What breaks off meanwhile raises as aiohttp does.
        """
        address = self.own(path)
        timeout = aiohttp.ClientTimeout(sock_connect=10, sock_read=idle)
        for last in (False, True):
            token = await self.tokens.get()
            fields = {**(headers or {}), "Authorization": f"Bearer {token}"}
            async with self.transport.session.get(
                address, headers=fields, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status == 401 and not last:
                    self.tokens.drop(token)
                    continue
                if response.status not in (200, 204):
                    raise refusal(response.status, response.headers, await response.read())
                yield response
                return

    def own(self, address: str) -> str:
        """Give the address of a path, or one that the service gave, if it is the service's own.

        Raises
        ------
        SluiceError
            It is another server's, which must not be shown our token.
        """
        if address.startswith("/"):
            return self.url + address
        if _origin(address) != _origin(self.url):
            raise SluiceError(
                "The service names an address that is not its own.",
                "Log in at the address that it calls itself by.",
            )
        return address


def decoded(body: bytes, kind: type[T]) -> T:
    """Read what the service answered.

    Raises
    ------
    SluiceError
        It is something else.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE:
        raise SluiceError(
            "The service's answer is not as expected.", "Check the address, or update this client."
        ) from None


def _origin(address: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(address)
    try:
        port = parts.port
    except ValueError:
        port = -1
    return parts.scheme, parts.hostname, port or {"http": 80, "https": 443}.get(parts.scheme)


def trusting(ca: Path) -> ssl.SSLContext:
    """Make what verifies certificates by those in a file too; SluiceError if that cannot be read."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError):
        raise SluiceError(f"{ca} holds no certificates that can be read.", "Check --ca.") from None
    return context


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else (value,)


def step(text: str) -> str:
    """Write an id as one step of a path."""
    return quote(text, safe="")
