"""Where the request that a task answers came from, for audit records: a context variable, as its trace is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from aiohttp import web

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
