"""Where a request comes from, as far as limits are concerned."""

from __future__ import annotations

from aiohttp import web


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
                return hops[-self._proxies][:64]
        return request.remote or ""
