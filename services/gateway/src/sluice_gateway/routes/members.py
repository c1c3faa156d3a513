"""Members of projects."""

from __future__ import annotations

from sluice_gateway.models.base import Page, PageQuery
from sluice_gateway.models.projects import Member, MemberRequest, PermissionsChange
from sluice_gateway.paging import TOTAL_HEADER, Window
from sluice_gateway.routes.projects import ITEM as PROJECT
from sluice_gateway.routes.projects import READ, WRITE, project_id
from sluice_gateway.routing import Answer, Call, Route

TAG = "Members"
LIST = PROJECT + "/members"
ITEM = LIST + "/{username}"


async def list_members(call: Call) -> Answer:
    """List a project's members."""
    page, total = await call.gateway.projects.members(
        call.principal.subject, project_id(call), Window.of(call.query)
    )
    return Answer(page, headers={TOTAL_HEADER: str(total)})


async def add_member(call: Call) -> Answer:
    """Add a member, or give one new permissions; needs the admin permission."""
    member = await call.gateway.projects.set_member(call.principal.subject, project_id(call), call.body)
    return Answer(member, 201, {"Location": member.href})


async def get_member(call: Call) -> Answer:
    """Get a member and what they may do."""
    member = call.gateway.projects.member(call.principal.subject, project_id(call), call.path["username"])
    return Answer(await member)


async def change_member(call: Call) -> Answer:
    """Change some of a member's permissions; needs the admin permission."""
    changed = call.gateway.projects.permit(
        call.principal.subject, project_id(call), call.path["username"], call.body
    )
    return Answer(await changed)


async def remove_member(call: Call) -> Answer:
    """Remove a member; needs the admin permission, or is yourself."""
    await call.gateway.projects.remove_member(call.principal.subject, project_id(call), call.path["username"])
    return Answer(status=204)


ROUTES = (
    Route(
        "GET",
        LIST,
        list_members,
        "List members",
        TAG,
        {200: Page[Member]},
        READ,
        query=PageQuery,
        errors=(404,),
    ),
    Route(
        "POST",
        LIST,
        add_member,
        "Add a member",
        TAG,
        {201: Member},
        WRITE,
        body=MemberRequest,
        errors=(404,),
    ),
    Route("GET", ITEM, get_member, "Get a member", TAG, {200: Member}, READ, errors=(404,)),
    Route(
        "PATCH",
        ITEM + "/permissions",
        change_member,
        "Change a member's permissions",
        TAG,
        {200: Member},
        WRITE,
        body=PermissionsChange,
        errors=(404,),
    ),
    Route("DELETE", ITEM, remove_member, "Remove a member", TAG, {204: None}, WRITE, errors=(404,)),
)
