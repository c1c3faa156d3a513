"""`sluice mkdir`, `edit`, `move` and `remove`: what one does with files and folders."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sluice_client.cli.files import pair
from sluice_client.cli.session import session_of

FileId = Annotated[str, typer.Argument(metavar="ID", help="the id of a file or folder")]


def mkdir(
    context: typer.Context,
    name: str,
    project: Annotated[str | None, typer.Option(help="owner/slug: in its root")] = None,
    parent: Annotated[str | None, typer.Option(help="a folder's id: in that folder")] = None,
) -> None:
    """Make a folder; prints its id."""
    if (project is None) == (parent is None):
        raise typer.BadParameter("give --project or --parent")
    session = session_of(context)
    made = session.call(lambda client: client.create_folder(name, project=project, parent=parent))
    session.show(made, lambda: made.id)


def edit(
    context: typer.Context,
    file: FileId,
    name: Annotated[str | None, typer.Option(help="another name")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="a tag, for all that it has; may be repeated, empty: none")
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="may be repeated; KEY= removes the key")
    ] = None,
) -> None:
    """Change the name, the tags or metadata of a file or folder; what is not given stays."""
    if name is None and tag is None and metadata is None:
        raise typer.BadParameter("say what to change")
    tags = None if tag is None else [each for each in tag if each]
    values: dict[str, Any] | None = None
    if metadata is not None:
        values = {key: value or None for key, value in map(pair, metadata)}
    session = session_of(context)
    changed = session.call(lambda client: client.change_file(file, name=name, tags=tags, metadata=values))
    session.show(changed, lambda: "changed")


def move(
    context: typer.Context,
    file: FileId,
    to: Annotated[str, typer.Option("--to", help="the id of the folder it goes to")],
    name: Annotated[str | None, typer.Option(help="another name")] = None,
) -> None:
    """Move a file or folder into another folder of its project."""
    session = session_of(context)
    moved = session.call(lambda client: client.move_file(file, to, name=name))
    session.show(moved, lambda: "moved")


def remove(
    context: typer.Context,
    file: FileId,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="also what is in a folder, with its folders")
    ] = False,
) -> None:
    """Delete a file or folder."""
    session = session_of(context)
    session.call(lambda client: client.delete_file(file, recursive=recursive))
    session.show({"removed": file}, lambda: "removed")
