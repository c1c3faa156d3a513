"""The figures of the requests answered, for `/metrics`."""

from __future__ import annotations

import time

from aiohttp import web
from prometheus_client import Counter, Histogram

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
REQUESTS = Counter("sluice_auth_requests", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram("sluice_auth_request_seconds", "Time to answer.", ["method", "route"], buckets=_BUCKETS)


def route_of(request: web.Request) -> str:
    """Name the request's route: never its path, which holds what a caller chose."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "none"


def observe(request: web.Request, status: int, began: float) -> None:
    """Count a request that was answered with `status`; `began` is `time.perf_counter()` at its start."""
    method = request.method if route_of(request) != "none" else "any"
    REQUESTS.labels(method, route_of(request), str(status)).inc()
    SECONDS.labels(method, route_of(request)).observe(time.perf_counter() - began)
