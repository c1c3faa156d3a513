"""What happens to every request: an id, a trace, one shape of errors, quota fields, a log line, a sample.

Log lines and samples name the route and never the path or the query: a path holds ids a client chose, and a
query may hold names.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cache

import structlog
from aiohttp import hdrs, web
from prometheus_client import Counter, Gauge, Histogram

from sluice_gateway.auditing import ID
from sluice_gateway.authentication import authenticate
from sluice_gateway.fhir.outcomes import below_fhir, outcome_response
from sluice_gateway.problems import Problem, unavailable
from sluice_gateway.routing import API, FAMILY_HEADER, GATEWAY, PRINCIPAL, STREAMING, problem_response
from sluice_gateway.time_limit import TimeLimit
from sluice_security.tokens import Principal
from sluice_storage.pool import TRANSIENT
from sluice_streaming.outcomes import Unavailable
from sluice_telemetry.spans import Kind, hop
from sluice_telemetry.subject import serving
from sluice_telemetry.trace import TRACEPARENT, distinct

log = structlog.get_logger(__name__)

REQUEST_ID = "X-Request-Id"
_CLIENT_WENT = 499  # nobody sees it but logs and metrics, where it is commonly written so
COURTESY: web.AppKey[TimeLimit] = web.AppKey("courtesy")
"""How long an answer waits for what may be left out of it."""
COURTESY_SECONDS = 1.0
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


class _Meter:
    """What is counted of the requests of one route; looking the metrics up costs more than counting.

    Parameters
    ----------
    method, route
        As the metrics' labels say them.
    """

    __slots__ = ("_answers", "_method", "_seconds", "name", "quiet", "route", "under_way")

    def __init__(self, method: str, route: str) -> None:
        self.name = f"{method} {route}"
        self.route = route
        self.quiet = route in _QUIET
        self.under_way = UNDER_WAY.labels(route)
        self._method = method
        self._seconds = SECONDS.labels(method, route)
        self._answers: dict[int, Counter] = {}

    def note(self, request: web.Request, status: int, seconds: float) -> None:
        """Count an answer and log it."""
        count = self._answers.get(status)
        if count is None:
            count = self._answers[status] = REQUESTS.labels(self._method, self.route, str(status))
        count.inc()
        self._seconds.observe(seconds)
        if not self.quiet:
            who = request.get(PRINCIPAL)
            log.info(
                "answered",
                method=self._method,
                route=self.route,
                status=status,
                milliseconds=round(seconds * 1000, 1),
                client=who.client if who is not None else None,
            )


_meter = cache(_Meter)  # there are as many as methods and routes


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


def _refuse(request: web.Request, problem: Problem) -> web.Response:
    return outcome_response(problem) if below_fhir(request.path) else problem_response(problem)


def _broken_off(request: web.Request) -> web.Response:
    """Answer, while an error is handled, a request whose answer had begun.

    All that can still be said is to break the connection, which the error does, unless whoever asked has gone
    already: that is no fault, and nobody is told anything.
    """
    if request.transport is None or request.transport.is_closing():
        return web.Response(status=_CLIENT_WENT)
    raise


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Problem as problem:
        return _refuse(request, problem)
    except web.HTTPException as error:
        return _refuse(request, _http_problem(error))
    except Unavailable:
        return _refuse(request, unavailable("its message log"))
    except (*TRANSIENT, TimeoutError) as error:
        if request.get(STREAMING):
            return _broken_off(request)
        log.warning("a dependency is away", route=_route(request), error=type(error).__name__)
        return _refuse(request, unavailable("its database"))
    except Exception as error:
        if request.get(STREAMING):
            return _broken_off(request)
        log.exception("a request failed", route=_route(request), exc_info=error)
        text = "The request could not be processed."
        return _refuse(request, Problem(500, "internal", text, "Tell the operators the X-Request-Id."))


async def _asking(request: web.Request, status: int) -> Principal | None:
    """Give whose figures an answer tells; None: nobody's.

    Where there is no such address, or it is public, nobody has looked at the token yet.
    """
    who = request.get(PRINCIPAL)
    if who is not None or status in (401, 503):
        return who
    fields = () if below_fhir(request.path) else request.headers.getall(FAMILY_HEADER, ())
    try:
        verifier = request.app[GATEWAY].verifier
        return await authenticate(verifier, request.headers.getall(hdrs.AUTHORIZATION, ()), fields)
    except Problem:
        return None


async def _quota_fields(request: web.Request, status: int) -> Mapping[str, str]:
    if not request.path.startswith(API):
        return {}
    quotas = request.app[GATEWAY].quotas
    who = await _asking(request, status)
    if who is None:
        return quotas.fields(quotas.unused())
    try:
        return quotas.fields(await request.app[COURTESY].of(quotas.read(who.client)))
    except (*TRANSIENT, TimeoutError):
        return {}  # the figures are a courtesy; the answer stands without them


async def add_fields(request: web.Request, response: web.StreamResponse) -> None:
    """Add what every answer carries, before its head is sent (a streamed one's is sent by its handler)."""
    if request_id := request.get(ID):
        response.headers[REQUEST_ID] = request_id
    response.headers[hdrs.SERVER] = "sluice"  # whoever asks need not know with what it is made
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    response.headers.update(await _quota_fields(request, response.status))


@web.middleware
async def serve(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a request, whatever happens, and take note of it."""
    began = time.perf_counter()
    given = request.headers.get(REQUEST_ID)
    request_id = given if given is not None and _SOUND_ID.fullmatch(given) else distinct(96)
    request[ID] = request_id
    meter = _meter(_method(request), _route(request))
    # Each request is answered by a task of its own, so nothing has to be put back.
    serving(request_id)
    meter.under_way.inc()
    try:
        with hop(meter.name, Kind.SERVER, request.headers.get(TRACEPARENT), told=not meter.quiet) as span:
            response = await _answered(request, handler)
            span.set("http.route", meter.route)
            span.set("http.response.status_code", response.status)
            meter.note(request, response.status, time.perf_counter() - began)
    finally:
        meter.under_way.dec()
    return response
