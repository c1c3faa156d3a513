"""What operators' machines ask: is it alive, is it ready, what are its figures."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Histogram, generate_latest

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


class OperationHandlers:
    """Tells the service's state.

    Parameters
    ----------
    ready
        True, or why the service cannot do its work now.
    """

    def __init__(self, ready: Callable[[], bool | str]) -> None:
        self._ready = ready

    def routes(self) -> list[web.RouteDef]:
        """Give the endpoints."""
        return [
            web.get("/livez", self.livez),
            web.get("/readyz", self.readyz),
            web.get("/metrics", self.metrics),
        ]

    async def livez(self, _request: web.Request) -> web.Response:
        """Say that the event loop turns."""
        return web.Response(text="ok\n")

    async def readyz(self, _request: web.Request) -> web.Response:
        """Say whether tokens can be issued."""
        state = self._ready()
        if state is True:
            return web.Response(text="ready\n")
        return web.Response(status=503, text=f"{state or 'not ready'}\n")

    async def metrics(self, _request: web.Request) -> web.Response:
        """Give the samples of this process."""
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})
