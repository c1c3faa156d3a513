"""Where the request that a task answers came from, for audit records: a context variable, as its trace is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import IPv6Address, IPv6Network, ip_address

from aiohttp import web

# Whoever has one IPv6 address has as many as they like: their network's, which is a /64 at least (RFC 6177).
_NETWORK = 64
_LONGEST = 64
_caller: ContextVar[str | None] = ContextVar("sluice_caller", default=None)


def caller() -> str | None:
    """Give the address that the request came from; None where there is no request."""
    return _caller.get()


@contextmanager
def called_from(address: str) -> Iterator[None]:
    """Say where the request that the block answers came from."""
    token = _caller.set(address or None)
    try:
        yield
    finally:
        _caller.reset(token)


class Origins:
    """Gives the caller's address.

    Parameters
    ----------
    proxies
        How many trusted proxies stand before this server. Each appends the address it was called from to
        `X-Forwarded-For`, so that many places from the right stands what the first of them saw; anything
        further left is the caller's own claim.
    """

    def __init__(self, proxies: int) -> None:
        self._proxies = proxies

    def __call__(self, request: web.Request) -> str:
        """Give the address of whoever called, or an empty text."""
        if self._proxies:
            hops = [
                hop.strip()
                for line in request.headers.getall("X-Forwarded-For", [])
                for hop in line.split(",")
            ]
            if len(hops) >= self._proxies:
                return hops[-self._proxies][:_LONGEST]
        return request.remote or ""

    def network(self, request: web.Request) -> str:
        """Give what attempts of whoever called are counted by: their IPv4 address, or their IPv6 network."""
        text = self(request)
        try:
            address = ip_address(text)
        except ValueError:
            return text
        if isinstance(address, IPv6Address):
            mapped = address.ipv4_mapped
            return str(mapped or IPv6Network((int(address), _NETWORK), strict=False))
        return text
