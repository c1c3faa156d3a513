"""`sluice files` and `sluice download`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer

from sluice_client.cli.progress import Display, showing
from sluice_client.cli.session import Session, printable, session_of, table
from sluice_client.client import SluiceClient
from sluice_client.downloads import Progress, safe_name
from sluice_client.errors import SluiceError
from sluice_client.models import Downloaded, File
from sluice_contracts.words import counted

_ID = re.compile(r"[0-9a-f]{24}")


def files(
    context: typer.Context,
    file: Annotated[str | None, typer.Argument(help="a file's id: show it with its metadata")] = None,
    project: Annotated[str | None, typer.Option(help="owner/slug: what is in its root")] = None,
    parent: Annotated[str | None, typer.Option(help="a folder's id: what is in it")] = None,
    name: Annotated[str | None, typer.Option(help="only files of this name")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="only files with this tag; may be repeated")] = None,
    metadata: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="only such files")] = None,
) -> None:
    """List a project's or folder's files, or show one."""
    session = session_of(context)
    if file is not None:
        shown = session.call(lambda client: client.file(file))
        session.show(shown, lambda: _card(shown))
        return
    if (project is None) == (parent is None):
        raise typer.BadParameter("give a file's id, --project or --parent")
    wanted = dict(pair(text) for text in metadata or ())

    async def work(client: SluiceClient) -> list[File]:
        listed = client.files(project=project, parent=parent, name=name, tag=tag or (), metadata=wanted)
        return [it async for it in listed]

    found = session.call(work)
    rows = [(it.id, it.name + "/" * it.is_folder, it.size, ", ".join(it.tags)) for it in found]
    session.show(found, lambda: table(("id", "name", "bytes", "tags"), rows, "There is nothing."))


def pair(text: str) -> tuple[str, str]:
    """Read `KEY=VALUE`."""
    key, sign, value = text.partition("=")
    if not key or not sign:
        raise typer.BadParameter("--metadata takes KEY=VALUE")
    return key, value


def _card(it: File) -> object:
    facts: list[tuple[str, object]] = [
        ("name", it.name),
        ("type", it.type),
        ("bytes", it.size),
        ("project", it.project),
    ]
    facts += [("tags", ", ".join(it.tags)), ("created", it.created_on)]
    rows = [*facts, *((f"metadata.{key}", value) for key, value in sorted(it.metadata.items()))]
    return table(("what", it.id), rows, "")


def download(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="the id of a file or folder, or a project's owner/slug")],
    to: Annotated[Path, typer.Option("--to", "-o", help="the folder to download to")] = Path(),
) -> None:
    """Download a file, or all of a folder or project with its folders.

    Broken downloads are resumed; what is already there with the right content is not fetched again.
    """
    session = session_of(context)

    async def work(client: SluiceClient) -> list[Downloaded]:
        return [it async for it in _downloads(session, client, what, to)]

    done = session.call(work)
    total = sum(it.size for it in done)
    session.show(done, lambda: f"{counted(len(done), 'file')}, {counted(total, 'byte')}, in {to}")


async def _downloads(
    session: Session, client: SluiceClient, what: str, to: Path
) -> AsyncIterator[Downloaded]:
    async for file, folder in _wanted(client, what, to):
        with showing(session.err, printable(file.name), quiet=session.as_json, size=True) as display:
            yield await client.download(file.id, folder / safe_name(file.name), _told(display))


def _told(display: Display) -> Progress:
    def told(have: int, size: int) -> None:
        display.update(have, size, "")

    return told


async def _wanted(client: SluiceClient, what: str, to: Path) -> AsyncIterator[tuple[File, Path]]:
    if _ID.fullmatch(what):
        first = await client.file(what)
        if not first.is_folder:
            yield first, to
            return
        waiting = [(client.files(parent=first.id), to / safe_name(first.name))]
    elif "/" in what:
        waiting = [(client.files(project=what.rstrip("/")), to)]
    else:
        raise SluiceError("That is no file's id and no project.", "Give an id, or owner/slug.")
    while waiting:
        listed, folder = waiting.pop()
        async for file in listed:
            if file.is_folder:
                waiting.append((client.files(parent=file.id), folder / safe_name(file.name)))
            else:
                yield file, folder
