"""Serving HTTP: over TLS, and without telling a caller its own words.

aiohttp answers a request that it cannot parse with the line it could not parse, before any handler or
middleware is asked. That line may be a header with a token in it.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

log = structlog.get_logger(__name__)


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Give what it takes to serve TLS 1.2 or newer (Bulk Data Access, "Security Considerations"; RFC 8996).

    Parameters
    ----------
    certificate
        The certificate and those between it and its root, in PEM.
    key
        Its private key, in PEM without a pass phrase.

    Raises
    ------
    ValueError
        They cannot be read, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Compression lets an attacker guess secrets (CRIME); renegotiation only costs the server.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION

    def no_pass_phrase() -> str:
        # Without this OpenSSL asks for one on the terminal, and the service hangs.
        raise ValueError("the private key must not need a pass phrase")

    try:
        context.load_cert_chain(certificate, key, no_pass_phrase)
    except OSError as error:
        # An SSLError's text names OpenSSL's source; what it means is one of these.
        what = "cannot be read" if not isinstance(error, ssl.SSLError) else "do not fit together"
        raise ValueError(f"the certificate and its private key {what}") from None
    return context


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

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log a fault of ours; that the rest of an answered request cannot be decoded is none."""
        if isinstance(kw.get("exc_info"), web.RequestPayloadError):
            log.info("the rest of a request cannot be read")
        else:
            super().log_exception(*args, **kw)


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


@asynccontextmanager
async def served(
    runner: web.AppRunner, host: str | None, port: int, tls: ssl.SSLContext | None
) -> AsyncIterator[None]:
    """Serve inside of the block; at its end requests under way are finished.

    Parameters
    ----------
    runner
        Has the application; it is not set up.
    host, port
        Where to listen; None is every address, port 0 a free one.
    tls
        What to serve TLS with; None for plain HTTP.

    Raises
    ------
    OSError
        It cannot listen there; that is logged.
    """
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
        except OSError:
            log.error("cannot listen: is the port in use?", host=host, port=port)  # noqa: TRY400
            raise
        log.info("listening", address=runner.addresses[0][:2])
        yield
    finally:
        await runner.cleanup()
