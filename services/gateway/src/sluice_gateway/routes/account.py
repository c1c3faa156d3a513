"""Who is asking, how much they may, and where things are."""

from __future__ import annotations

from sluice_gateway.models.account import Endpoints, Rate, RateLimit, User
from sluice_gateway.routing import Answer, Call, Route

TAG = "Account"


async def get_user(call: Call) -> Answer:
    """Get whom the token speaks for."""
    return Answer(User(href=call.gateway.hrefs("/v2/user"), username=call.principal.subject))


async def get_rate_limit(call: Call) -> Answer:
    """Get what is left of the client's quota of bulk requests. Asking is not counted."""
    quotas = call.gateway.quotas
    usage = await quotas.read(call.principal.client)
    most = quotas.policy.most
    rate = Rate(limit=most, remaining=max(0, most - usage.used), reset=quotas.reset(usage))
    # The family's second quota is of computing instances; there are none here, so it is without limit.
    unlimited = Rate(limit=-1, remaining=2**31 - 1, reset=None)
    return Answer(RateLimit(rate=rate, instance_limit=unlimited))


async def get_endpoints(call: Call) -> Answer:
    """Get the addresses of the API's parts."""
    hrefs = call.gateway.hrefs
    return Answer(
        Endpoints(
            rate_limit_url=hrefs("/v2/rate_limit"),
            user_url=hrefs("/v2/user"),
            projects_url=hrefs("/v2/projects"),
            files_url=hrefs("/v2/files"),
            bulk_import_url=hrefs("/v2/bulk/fhir"),
            sources_url=hrefs("/v2/fhir/sources"),
            openapi_url=hrefs("/openapi.json"),
            docs_url=hrefs("/docs"),
        )
    )


ROUTES = (
    Route("GET", "/v2/user", get_user, "Get yourself", TAG, {200: User}, ""),
    Route("GET", "/v2/rate_limit", get_rate_limit, "Get your rate limit", TAG, {200: RateLimit}, ""),
    Route("GET", "/v2", get_endpoints, "Get the API's addresses", TAG, {200: Endpoints}, ""),
)
