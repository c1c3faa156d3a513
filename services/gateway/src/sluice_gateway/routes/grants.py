"""Grants: the operators' part of the API that says who may see whose data."""

from __future__ import annotations

from sluice_gateway.models.access import Grant, GrantRequest, GrantsQuery
from sluice_gateway.models.base import Page
from sluice_gateway.paging import TOTAL_HEADER, Window
from sluice_gateway.routing import Answer, Call, Route

TAG = "Grants"
SCOPE = "ops/access"
LIST = "/v2/fhir/grants"
ITEM = LIST + "/{id}"


async def give_grant(call: Call) -> Answer:
    """Let a client or a user see the data of a group's patients, or of all, below `/fhir`.

    Nobody sees anything there without a grant; several add up. A token's scopes narrow what its grants give.
    """
    grant = await call.gateway.grants.give(call.body, call.principal.subject)
    return Answer(grant, 201, {"Location": grant.href})


async def list_grants(call: Call) -> Answer:
    """List grants, the newest first."""
    query = call.query
    page, total = await call.gateway.grants.page(
        Window.of(query), grantee=query.grantee, group=query.group, ended=query.ended
    )
    return Answer(page, headers={TOTAL_HEADER: str(total)})


async def get_grant(call: Call) -> Answer:
    """Get a grant; one that is revoked or expired is still there, for the record."""
    return Answer(await call.gateway.grants.get(call.path["id"]))


async def revoke_grant(call: Call) -> Answer:
    """Revoke a grant: from now on it gives nothing. What exports hold by it is not found any more."""
    await call.gateway.grants.revoke(call.path["id"], call.principal.subject)
    return Answer(status=204)


ROUTES = (
    Route("POST", LIST, give_grant, "Give a grant", TAG, {201: Grant}, SCOPE, body=GrantRequest),
    Route("GET", LIST, list_grants, "List grants", TAG, {200: Page[Grant]}, SCOPE, query=GrantsQuery),
    Route("GET", ITEM, get_grant, "Get a grant", TAG, {200: Grant}, SCOPE, errors=(404,)),
    Route("DELETE", ITEM, revoke_grant, "Revoke a grant", TAG, {204: None}, SCOPE, errors=(404,)),
)
