"""Health endpoints: /livez, /readyz, /metrics, and a server of them for services that speak no HTTP else.

/livez says that the event loop turns, /readyz whether the service can do its work now and otherwise why
not, /metrics gives Prometheus its samples.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

Ready = Callable[[], bool | str]
"""True when ready; False, or the reason as a short text without data, when not."""


class HealthEndpoints:
    """The three endpoints, for an application of the caller's.

    Parameters
    ----------
    ready
        Asked on every /readyz.
    registry
        What /metrics shows.
    """

    def __init__(self, ready: Ready, registry: CollectorRegistry = REGISTRY) -> None:
        self._ready = ready
        self._registry = registry

    def routes(self) -> list[web.RouteDef]:
        """Give the endpoints."""
        return [
            web.get("/livez", self._livez),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._metrics),
        ]

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        answer = self._ready()
        if answer is True:
            return web.Response(text="ready\n")
        return web.Response(status=503, text=f"{answer or 'not ready'}\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        body = generate_latest(self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


class HealthServer:
    """Serves the three endpoints; an asynchronous context manager.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one.
    ready
        Asked on every /readyz.
    registry
        What /metrics shows.
    """

    def __init__(self, host: str, port: int, ready: Ready, registry: CollectorRegistry = REGISTRY) -> None:
        self._host = host
        self._asked_port = port
        self._endpoints = HealthEndpoints(ready, registry)
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port listened on, once started."""
        if self._runner is None or not self._runner.addresses:
            return self._asked_port
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Listen.

        Raises
        ------
        OSError
            The address cannot be listened on.
        """
        app = web.Application()
        app.add_routes(self._endpoints.routes())
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._asked_port).start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
