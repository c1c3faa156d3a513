"""Serving HTTP without telling a caller its own words.

aiohttp answers a request that it cannot parse with the line it could not parse, before any handler or
middleware is asked. That line may be a header with a token in it.
"""

from __future__ import annotations

from aiohttp import web


class _QuietHandler(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - what this class is there to withhold
    ) -> web.StreamResponse:
        """Answer with the status and nothing of the request."""
        return super().handle_error(request, status, exc, "The request was refused.\n")


class _QuietServer(web.Server):
    def __call__(self) -> web.RequestHandler:
        """Make the protocol of one connection."""
        return _QuietHandler(self, loop=self._loop, **self._kwargs)


class QuietRunner(web.AppRunner):
    """Runs an application like `aiohttp.web.AppRunner`, but repeats nothing of a malformed request."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        # aiohttp has no place to say which class handles a connection; the subclass adds no state.
        server.__class__ = _QuietServer
        return server
