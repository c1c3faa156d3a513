"""Projects."""

from __future__ import annotations

from sluice_gateway.models.base import Page
from sluice_gateway.models.projects import Project, ProjectChange, ProjectRequest, ProjectsQuery
from sluice_gateway.paging import TOTAL_HEADER, Window
from sluice_gateway.routing import Answer, Call, Route

TAG = "Projects"
READ, WRITE = "files/read", "files/write"
ITEM = "/v2/projects/{owner}/{project}"


def project_id(call: Call) -> str:
    """Give the id of the project in the path."""
    return f"{call.path['owner']}/{call.path['project']}"


async def create_project(call: Call) -> Answer:
    """Create a project that you own; its id is made of your name and the project's."""
    project = await call.gateway.projects.create(call.principal.subject, call.body)
    return Answer(project, 201, {"Location": project.href})


async def list_projects(call: Call) -> Answer:
    """List the projects you are a member of."""
    page, total = await call.gateway.projects.page(
        call.principal.subject,
        Window.of(call.query),
        name=call.query.name,
        owner=call.path.get("owner"),
    )
    return Answer(page, headers={TOTAL_HEADER: str(total)})


async def list_projects_of_owner(call: Call) -> Answer:
    """List those of your projects whose id begins with an owner's name."""
    return await list_projects(call)


async def get_project(call: Call) -> Answer:
    """Get a project you are a member of."""
    return Answer(await call.gateway.projects.get(call.principal.subject, project_id(call)))


async def change_project(call: Call) -> Answer:
    """Change a project's name, description or tags."""
    return Answer(await call.gateway.projects.change(call.principal.subject, project_id(call), call.body))


async def delete_project(call: Call) -> Answer:
    """Delete a project with all its folders and files."""
    await call.gateway.projects.delete(call.principal.subject, project_id(call))
    return Answer(status=204)


ROUTES = (
    Route(
        "POST",
        "/v2/projects",
        create_project,
        "Create a project",
        TAG,
        {201: Project},
        WRITE,
        body=ProjectRequest,
        errors=(409,),
    ),
    Route(
        "GET",
        "/v2/projects",
        list_projects,
        "List projects",
        TAG,
        {200: Page[Project]},
        READ,
        query=ProjectsQuery,
    ),
    Route(
        "GET",
        "/v2/projects/{owner}",
        list_projects_of_owner,
        "List projects of an owner",
        TAG,
        {200: Page[Project]},
        READ,
        query=ProjectsQuery,
    ),
    Route("GET", ITEM, get_project, "Get a project", TAG, {200: Project}, READ, errors=(404,)),
    Route(
        "PATCH",
        ITEM,
        change_project,
        "Change a project",
        TAG,
        {200: Project},
        WRITE,
        body=ProjectChange,
        errors=(404,),
    ),
    Route("DELETE", ITEM, delete_project, "Delete a project", TAG, {204: None}, WRITE, errors=(404,)),
)
