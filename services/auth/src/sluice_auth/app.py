"""The web application: routes, and what happens to everything a handler does not catch."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import structlog
from aiohttp import web

from sluice_auth.errors import OAuthError, Refusal, invalid_request
from sluice_auth.handlers.forms import answer, refusal
from sluice_auth.keyring import NoKeyError
from sluice_auth.request_metrics import observe, route_of
from sluice_security.callers import Origins, called_from
from sluice_telemetry.spans import Kind, hop
from sluice_telemetry.trace import TRACEPARENT

log = structlog.get_logger(__name__)

MAX_BODY = 64 * 1024
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})
# What scripts of other sites may read, as public clients in browsers must: no cookie counts here, so nothing
# in the answers depends on who is signed in with this server in that browser.
_FOR_SCRIPTS = frozenset(
    {
        "/oauth/token",
        "/oauth/revoke",
        "/oauth/jwks",
        "/oauth/openapi.json",
        "/.well-known/oauth-authorization-server",
        "/.well-known/smart-configuration",
    }
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Part(Protocol):
    """Some of the endpoints."""

    def routes(self) -> list[web.RouteDef]:
        """Give them."""


def make_app(
    parts: Iterable[Part],
    *,
    origins: Origins,
    away: tuple[type[Exception], ...],
) -> web.Application:
    """Put the application together.

    Parameters
    ----------
    origins
        Where requests come from, for audit records.
    away
        The exceptions that mean that the store is away, which is answered with 503.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        route, traceparent = route_of(request), request.headers.get(TRACEPARENT)
        method = request.method if route != "none" else "any"
        with (
            called_from(origins(request)),
            hop(f"{method} {route}", Kind.SERVER, traceparent, told=route not in _QUIET) as span,
        ):
            response = await _guarded(request, handler, away)
            span.set("http.route", route)
            span.set("http.response.status_code", response.status)
        response.headers["X-Content-Type-Options"] = "nosniff"
        if route_of(request) in _FOR_SCRIPTS:
            response.headers["Access-Control-Allow-Origin"] = "*"
        observe(request, response.status, began)
        return response

    app = web.Application(middlewares=[guard], client_max_size=MAX_BODY)
    for part in parts:
        app.add_routes(part.routes())
    return app


async def _guarded(
    request: web.Request, handler: Handler, away: tuple[type[Exception], ...]
) -> web.StreamResponse:
    """Answer in the protocol's form whatever happens, and never with what was sent or what went wrong."""
    try:
        # Two hosts in one request are two opinions on whom it is for (RFC 9112 section 3.2).
        if len(request.headers.getall("Host", [])) > 1:
            raise invalid_request("Host is repeated.")
        return await handler(request)
    except OAuthError as error:
        return refusal(error)
    except web.HTTPException as error:
        return _plain(error)
    except Exception as error:
        if isinstance(error, (*away, NoKeyError)):
            log.warning("the store is away", error=type(error).__name__)
            return refusal(OAuthError("temporarily_unavailable", "Try again soon.", 503, retry_after=0))
        log.exception("a request failed", route=route_of(request))
        return refusal(OAuthError("server_error", "The request failed on the server's side.", 500))


def _plain(error: web.HTTPException) -> web.Response:
    if error.status == 413:
        return refusal(OAuthError("invalid_request", "The body is too large.", 413))
    if error.status == 404:
        return answer(Refusal("not_found", "There is no such page."), 404)
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    description = "The method is not allowed here." if error.status == 405 else "The request was refused."
    return answer(Refusal("invalid_request", description), error.status, headers)
