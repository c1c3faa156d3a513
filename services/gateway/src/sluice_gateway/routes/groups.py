"""Groups of patients: the operators' part of the API that says who is in which."""

from __future__ import annotations

from sluice_gateway.models.access import (
    Group,
    GroupMember,
    GroupReplacement,
    GroupRequest,
    GroupsQuery,
    MembersChange,
    MembersChanged,
    MembersQuery,
)
from sluice_gateway.models.base import Page
from sluice_gateway.paging import TOTAL_HEADER, Window
from sluice_gateway.routing import Answer, Call, Route

TAG = "Groups"
SCOPE = "ops/groups"
LIST = "/v2/fhir/groups"
ITEM = LIST + "/{id}"
MEMBERS = ITEM + "/members"


async def create_group(call: Call) -> Answer:
    """Make a group of patients, who need not be in the store yet."""
    group = await call.gateway.groups.create(call.body)
    return Answer(group, 201, {"Location": group.href})


async def list_groups(call: Call) -> Answer:
    """List groups, also those that Group resources were loaded for."""
    page, total = await call.gateway.groups.page(Window.of(call.query), name=call.query.name)
    return Answer(page, headers={TOTAL_HEADER: str(total)})


async def get_group(call: Call) -> Answer:
    """Get a group."""
    return Answer(await call.gateway.groups.get(call.path["id"]))


async def replace_group(call: Call) -> Answer:
    """Give a group this name and these patients; who stays keeps the time of joining."""
    return Answer(await call.gateway.groups.replace(call.path["id"], call.body))


async def delete_group(call: Call) -> Answer:
    """Delete a group; what is granted of it is revoked. Its patients' data stay."""
    await call.gateway.groups.delete(call.path["id"], call.principal.subject)
    return Answer(status=204)


async def list_group_members(call: Call) -> Answer:
    """List a group's members, by id."""
    page, total = await call.gateway.groups.members(
        call.path["id"], Window(call.query.limit, call.query.offset)
    )
    return Answer(page, headers={TOTAL_HEADER: str(total)})


async def change_group_members(call: Call) -> Answer:
    """Let patients join and others leave, up to ten thousand of each; all of it is done, or nothing.

    Who is in the group already, or is not, is no error, so that a request may be sent again.
    """
    return Answer(await call.gateway.groups.change(call.path["id"], call.body))


async def remove_group_member(call: Call) -> Answer:
    """Take one patient out of a group."""
    await call.gateway.groups.leave(call.path["id"], call.path["patient"])
    return Answer(status=204)


ROUTES = (
    Route(
        "POST", LIST, create_group, "Make a group", TAG, {201: Group}, SCOPE, body=GroupRequest, errors=(409,)
    ),
    Route("GET", LIST, list_groups, "List groups", TAG, {200: Page[Group]}, SCOPE, query=GroupsQuery),
    Route("GET", ITEM, get_group, "Get a group", TAG, {200: Group}, SCOPE, errors=(404,)),
    Route(
        "PUT",
        ITEM,
        replace_group,
        "Replace a group",
        TAG,
        {200: Group},
        SCOPE,
        body=GroupReplacement,
        errors=(404, 409),
    ),
    Route("DELETE", ITEM, delete_group, "Delete a group", TAG, {204: None}, SCOPE, errors=(404, 409)),
    Route(
        "GET",
        MEMBERS,
        list_group_members,
        "List a group's members",
        TAG,
        {200: Page[GroupMember]},
        SCOPE,
        query=MembersQuery,
        errors=(404,),
    ),
    Route(
        "PATCH",
        MEMBERS,
        change_group_members,
        "Change a group's members",
        TAG,
        {200: MembersChanged},
        SCOPE,
        body=MembersChange,
        errors=(404, 409),
    ),
    Route(
        "DELETE",
        MEMBERS + "/{patient}",
        remove_group_member,
        "Remove a group's member",
        TAG,
        {204: None},
        SCOPE,
        errors=(404, 409),
    ),
)
