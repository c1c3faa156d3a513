"""What happens to every request: an id, a trace, one shape of errors, quota fields, a log line, a sample.

Log lines and samples name the route and never the path or the query: a path holds ids a client chose, and a
query may hold names.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import hdrs, web
from prometheus_client import Counter, Gauge, Histogram

from sluice_gateway.fhir.outcomes import below_fhir, outcome_response
from sluice_gateway.problems import Problem, unavailable
from sluice_gateway.routing import GATEWAY, PRINCIPAL, STREAMING, problem_response
from sluice_storage.pool import TRANSIENT
from sluice_streaming.outcomes import Unavailable
from sluice_telemetry.spans import Kind, hop
from sluice_telemetry.subject import apart
from sluice_telemetry.trace import TRACEPARENT

log = structlog.get_logger(__name__)

REQUEST_ID = "X-Request-Id"
ID = web.RequestKey("id", str)
_SOUND_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
REQUESTS = Counter("sluice_gateway_requests", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram(
    "sluice_gateway_request_seconds", "Time to answer.", ["method", "route"], buckets=_BUCKETS
)
UNDER_WAY = Gauge("sluice_gateway_requests_under_way", "Requests being answered now, streams too.", ["route"])
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "none"


def _method(request: web.Request) -> str:
    return request.method if request.method in hdrs.METH_ALL else "other"


def _http_problem(error: web.HTTPException) -> Problem:
    allow = {str(hdrs.ALLOW): error.headers[hdrs.ALLOW]} if hdrs.ALLOW in error.headers else {}
    match error.status:
        case 404:
            return Problem(404, "not_found", "There is no such address.", "See /docs.")
        case 405:
            text = "This address does not take that method."
            return Problem(405, "method_not_allowed", text, "See the header Allow.", allow)
        case 413:
            return Problem(413, "too_large", "The body is too large.", "Split the request into several.")
        case _:
            return Problem(error.status, "http_error", error.reason, "")


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    refuse = outcome_response if below_fhir(request.path) else problem_response
    try:
        return await handler(request)
    except Problem as problem:
        return refuse(problem)
    except web.HTTPException as error:
        return refuse(_http_problem(error))
    except Unavailable:
        return refuse(unavailable("its message log"))
    except (*TRANSIENT, TimeoutError) as error:
        if request.get(STREAMING):
            raise  # the head is sent: all that can still be said is to break the connection
        log.warning("a dependency is away", route=_route(request), error=type(error).__name__)
        return refuse(unavailable("its database"))
    except Exception as error:
        if request.get(STREAMING):
            raise
        log.exception("a request failed", route=_route(request), exc_info=error)
        text = "The request could not be processed."
        return refuse(Problem(500, "internal", text, "Tell the operators the X-Request-Id."))


async def _quota_fields(request: web.Request) -> dict[str, str]:
    who = request.get(PRINCIPAL)
    if who is None:
        return {}
    quotas = request.app[GATEWAY].quotas
    try:
        return quotas.fields(await quotas.read(who.client))
    except (*TRANSIENT, TimeoutError):
        return {}  # the figures are a courtesy; the answer stands without them


async def add_fields(request: web.Request, response: web.StreamResponse) -> None:
    """Add what every answer carries, before its head is sent (a streamed one's is sent by its handler)."""
    if request_id := request.get(ID):
        response.headers[REQUEST_ID] = request_id
    response.headers[hdrs.SERVER] = "sluice"  # whoever asks need not know with what it is made
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")


@web.middleware
async def serve(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a request, whatever happens, and take note of it."""
    began = time.perf_counter()
    given = request.headers.get(REQUEST_ID, "")
    request[ID] = given if _SOUND_ID.fullmatch(given) else secrets.token_hex(12)
    route, traceparent = _route(request), request.headers.get(TRACEPARENT)
    with (
        apart(),  # a connection's requests are answered by one task
        hop(f"{_method(request)} {route}", Kind.SERVER, traceparent, told=route not in _QUIET) as span,
        structlog.contextvars.bound_contextvars(request=request[ID]),
        UNDER_WAY.labels(route).track_inprogress(),
    ):
        response = await _answered(request, handler)
        if not response.prepared:
            response.headers.update(await _quota_fields(request))
        span.set("http.route", route)
        span.set("http.response.status_code", response.status)
        _note(request, response.status, time.perf_counter() - began)
    return response


def _note(request: web.Request, status: int, seconds: float) -> None:
    route = _route(request)
    method = _method(request)
    REQUESTS.labels(method, route, str(status)).inc()
    SECONDS.labels(method, route).observe(seconds)
    if route not in _QUIET:
        who = request.get(PRINCIPAL)
        log.info(
            "answered",
            method=method,
            route=route,
            status=status,
            milliseconds=round(seconds * 1000, 1),
            client=who.client if who is not None else None,
        )
