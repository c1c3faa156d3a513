"""The page for people, at `/`."""

from __future__ import annotations

from aiohttp import web

from sluice_gateway.models.dashboard import DashboardConfig
from sluice_gateway.page_files import ASSETS
from sluice_gateway.problems import not_found
from sluice_gateway.routing import Answer, Call, Route

TAG = "Page"
CLIENT = "sluice-dashboard"
"""The client that the authorization server has for the page."""
_SCOPE = "bulk/import files/read files/write user/*.rs offline_access ops/jobs ops/sources ops/dead-letters"


async def dashboard(call: Call) -> web.Response:
    """Open the page for people."""
    return call.gateway.page_files.page(call.request)


async def dashboard_signed_in(call: Call) -> web.Response:
    """Come back to the page from signing in."""
    return call.gateway.page_files.page(call.request)


async def dashboard_config(call: Call) -> Answer:
    """Get what the page needs to know: which client it is, and where people sign in."""
    settings = call.gateway.settings
    shown = DashboardConfig(
        client_id=CLIENT,
        issuer=settings.issuer,
        authorization_endpoint=f"{settings.issuer}/oauth/authorize",
        token_endpoint=f"{settings.issuer}/oauth/token",
        revocation_endpoint=f"{settings.issuer}/oauth/revoke",
        management_endpoint=f"{settings.issuer}/oauth/consents",
        redirect_uri=call.gateway.hrefs("/dashboard/signed-in"),
        scope=_SCOPE,
    )
    return Answer(shown, headers={"Cache-Control": "no-cache"})


async def dashboard_asset(call: Call) -> web.Response:
    """Get a part of the page."""
    found = call.gateway.page_files.part(call.request, call.path["version"], call.path["name"])
    if found is None:
        raise not_found("page")
    return found


ROUTES = (
    Route("GET", "/", dashboard, "The page for people", TAG, {200: str}, media="text/html"),
    Route(
        "GET",
        "/dashboard/signed-in",
        dashboard_signed_in,
        "The page after signing in",
        TAG,
        {200: str},
        media="text/html",
    ),
    Route(
        "GET", "/dashboard/config.json", dashboard_config, "The page's settings", TAG, {200: DashboardConfig}
    ),
    Route(
        "GET",
        ASSETS + "/{version}/{name}",
        dashboard_asset,
        "Part of the page",
        TAG,
        {200: str},
        errors=(404,),
        media="text/javascript",
    ),
)
