"""`sluice projects`."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice_client.cli.session import session_of, table
from sluice_client.client import SluiceClient
from sluice_client.models import Member, Project

projects = typer.Typer(help="Your projects.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="PROJECT", help="its id: owner/slug")]
Username = Annotated[str, typer.Argument(help="as sluice whoami tells them")]


@projects.command("list")
def list_projects(
    context: typer.Context, name: Annotated[str | None, typer.Option(help="part of the name")] = None
) -> None:
    """List your projects."""
    session = session_of(context)

    async def work(client: SluiceClient) -> list[Project]:
        return [project async for project in client.projects(name)]

    found = session.call(work)
    rows = [(it.id, it.name, it.created_on) for it in found]
    session.show(found, lambda: table(("id", "name", "created"), rows, "No projects yet."))


@projects.command("create")
def create_project(
    context: typer.Context,
    name: str,
    description: Annotated[str, typer.Option(help="what it is about")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="a label; may be repeated")] = None,
) -> None:
    """Make a project; prints its id."""
    session = session_of(context)
    made = session.call(lambda client: client.create_project(name, description=description, tags=tag or ()))
    session.show(made, lambda: made.id)


@projects.command("show")
def show_project(context: typer.Context, project: Id) -> None:
    """Show a project."""
    session = session_of(context)
    found = session.call(lambda client: client.project(project))
    facts = [
        ("name", found.name),
        ("description", found.description),
        ("tags", ", ".join(found.tags)),
        ("root folder", found.root_folder),
        ("created", found.created_on),
    ]
    session.show(found, lambda: table(("what", found.id), facts, ""))


@projects.command("change")
def change_project(
    context: typer.Context,
    project: Id,
    name: Annotated[str | None, typer.Option(help="another name; the id stays")] = None,
    description: Annotated[str | None, typer.Option(help="what it is about")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="a label, for all that it has; may be repeated, empty: none")
    ] = None,
) -> None:
    """Change a project's name, description or labels; what is not given stays."""
    if name is None and description is None and tag is None:
        raise typer.BadParameter("say what to change")
    tags = None if tag is None else [each for each in tag if each]
    session = session_of(context)
    changed = session.call(
        lambda client: client.change_project(project, name=name, description=description, tags=tags)
    )
    session.show(changed, lambda: "changed")


@projects.command("delete")
def delete_project(
    context: typer.Context,
    project: Id,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
) -> None:
    """Delete a project with all its folders and files, for everyone it is shared with."""
    session = session_of(context)
    if not yes:
        typer.confirm(f"Delete {project} with all its files?", abort=True, err=True)
    session.call(lambda client: client.delete_project(project))
    session.show({"deleted": project}, lambda: "deleted")


@projects.command("members")
def list_members(context: typer.Context, project: Id) -> None:
    """List who may see a project."""
    session = session_of(context)

    async def work(client: SluiceClient) -> list[Member]:
        return [member async for member in client.members(project)]

    found = session.call(work)
    rows = [(it.username, ", ".join(name for name, has in it.permissions.items() if has)) for it in found]
    session.show(found, lambda: table(("who", "may"), rows, "Nobody."))


@projects.command("share")
def share_project(
    context: typer.Context,
    project: Id,
    username: Username,
    write: Annotated[bool, typer.Option("--write", help="let them change it too")] = False,
    admin: Annotated[bool, typer.Option("--admin", help="let them say who its members are")] = False,
) -> None:
    """Let someone see a project, or give a member other permissions: these and no more."""
    session = session_of(context)
    session.call(lambda client: client.add_member(project, username, write=write, admin=admin))
    session.show({"member": username}, lambda: "shared")


@projects.command("unshare")
def unshare_project(context: typer.Context, project: Id, username: Username) -> None:
    """Let someone see a project no more."""
    session = session_of(context)
    session.call(lambda client: client.remove_member(project, username))
    session.show({"removed": username}, lambda: "removed")
