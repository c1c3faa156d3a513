"""What a FHIR client asks first: what the server does, and where tokens come from. Public."""

from __future__ import annotations

from aiohttp import web

from sluice_gateway.fhir.preferences import check_accept
from sluice_gateway.fhir.routing import fhir_route
from sluice_gateway.routing import JSON, Answer, Call

TAG = "FHIR discovery"
_HOUR = {"Cache-Control": "public, max-age=3600"}


async def get_capabilities(call: Call) -> Answer:
    """Get the CapabilityStatement (FHIR R4): types, interactions, export operations, addresses of OAuth."""
    check_accept(call.headers.getall("Accept", ()), call.request.query.getall("_format", ()))
    return Answer(call.gateway.discovery.capabilities, headers=_HOUR)


async def get_smart_configuration(call: Call) -> web.Response:
    """Get the SMART configuration (SMART App Launch 2.2), as the authorization server has it."""
    body = await call.gateway.discovery.smart_configuration()
    return web.Response(body=body, content_type=JSON, headers=_HOUR)


ROUTES = (
    fhir_route(
        "GET", "/metadata", get_capabilities, "Get the CapabilityStatement", TAG, scope=None, errors=(406,)
    ),
    fhir_route(
        "GET",
        "/.well-known/smart-configuration",
        get_smart_configuration,
        "Get the SMART configuration",
        TAG,
        scope=None,
        media=JSON,
        errors=(503,),
    ),
)
