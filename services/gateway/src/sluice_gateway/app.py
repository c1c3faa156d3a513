"""The web application: every declared route, behind the one middleware."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import hdrs, web

from sluice_gateway.auditing import disclosing
from sluice_gateway.fhir.outcomes import ALIAS, BASE
from sluice_gateway.middleware import COURTESY, COURTESY_SECONDS, add_fields, serve
from sluice_gateway.routes import ROUTES
from sluice_gateway.routing import GATEWAY, Route, endpoint
from sluice_gateway.time_limit import TimeLimit
from sluice_gateway.wiring import Gateway
from sluice_security.serving import QuietRunner

_SHUTDOWN_SECONDS = 20.0


def make_app(gateway: Gateway, routes: Sequence[Route] = ROUTES) -> web.Application:
    """Make the application that serves `routes` with the services of `gateway`."""
    app = web.Application(middlewares=[serve], client_max_size=gateway.settings.body_limit)
    app[GATEWAY] = gateway
    app[COURTESY] = TimeLimit(COURTESY_SECONDS)
    app.on_response_prepare.append(add_fields)
    # Whatever a handler streams without having it recorded is not sent before it is.
    app.on_response_prepare.append(disclosing)

    async def let_watchers_go(_: web.Application) -> None:
        await gateway.watching.close()

    app.on_shutdown.append(let_watchers_go)
    for route in routes:
        _add(app, route, route.path, routes)
    for route in routes:
        if route.fhir:
            _add(app, route, ALIAS + route.path.removeprefix(BASE), routes)
    # The official Seven Bridges client asks for these two with a slash at the end.
    for route in routes:
        if route.method == "GET" and route.path in ("/v2", "/v2/projects"):
            _add(app, route, route.path + "/", routes)
    return app


def answers_head(route: Route, routes: Sequence[Route]) -> bool:
    """Tell whether HEAD is answered as the route's GET, without the body (RFC 9110, section 9.3.2).

    Not where it has a route of its own, where an answer is as long as somebody listens, and where GET begins
    something, as a kick-off does: asking about that must not.
    """
    if route.method != hdrs.METH_GET or route.streams or 200 not in route.answers:
        return False
    return all((each.method, each.path) != (hdrs.METH_HEAD, route.path) for each in routes)


def _add(app: web.Application, route: Route, path: str, routes: Sequence[Route]) -> None:
    serve = endpoint(route, app[GATEWAY])
    app.router.add_route(route.method, path, serve)
    # Right behind it: another route's path may match as well.
    if answers_head(route, routes):
        app.router.add_route(hdrs.METH_HEAD, path, serve)


def make_runner(gateway: Gateway) -> QuietRunner:
    """Make what runs the application: a malformed request is refused without being repeated."""
    return QuietRunner(
        make_app(gateway), access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_SECONDS
    )
