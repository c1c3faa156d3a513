"""`sluice groups`: groups of patients, to be granted and exported (operators)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sluice_client.access import Group, GroupMember, MembersChanged
from sluice_client.cli.session import Session, session_of, table, text_of
from sluice_client.client import SluiceClient
from sluice_client.errors import SluiceError
from sluice_contracts.words import counted

groups = typer.Typer(help="Groups of patients (operators).", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(metavar="ID", help="the group's id")]
_Patients = Annotated[list[str] | None, typer.Argument(metavar="[PATIENT]...", help="patients' ids")]
_From = Annotated[
    Path | None, typer.Option("--from", help="a file with a patient's id on each line; - is stdin")
]


@groups.command("create")
def create_group(
    context: typer.Context,
    id_: _Id,
    patients: _Patients = None,
    name: Annotated[str | None, typer.Option(help="what it is called; by default its id")] = None,
    source: _From = None,
) -> None:
    """Make a group; its patients need not be in the store yet."""
    session = session_of(context)

    async def work(client: SluiceClient) -> Group:
        return await client.create_group(name or id_, group=id_, patients=_named(patients, source))

    made = session.call(work)
    session.show(made, lambda: f"{made.id}: {counted(made.members, 'member')}")


@groups.command("list")
def list_groups(
    context: typer.Context, name: Annotated[str | None, typer.Option(help="part of the name")] = None
) -> None:
    """List groups."""
    session = session_of(context)

    async def work(client: SluiceClient) -> list[Group]:
        return [it async for it in client.groups(name)]

    found = session.call(work)
    rows = [(it.id, it.name, it.members, it.managed, it.modified_on) for it in found]
    headings = ("id", "name", "members", "managed by", "modified")
    session.show(found, lambda: table(headings, rows, "No groups yet."))


@groups.command("show")
def show_group(context: typer.Context, id_: _Id) -> None:
    """Show a group."""
    session = session_of(context)
    found = session.call(lambda client: client.group(id_))
    facts = [
        ("name", found.name),
        ("members", found.members),
        ("managed by", found.managed),
        ("modified", found.modified_on),
    ]
    session.show(found, lambda: table(("what", found.id), facts, ""))


@groups.command("members")
def list_members(context: typer.Context, id_: _Id) -> None:
    """List a group's members."""
    session = session_of(context)

    async def work(client: SluiceClient) -> list[GroupMember]:
        return [it async for it in client.group_members(id_)]

    found = session.call(work)
    rows = [(it.patient, it.since) for it in found]
    session.show(found, lambda: table(("patient", "since"), rows, "Nobody is in it."))


@groups.command("add")
def add_members(context: typer.Context, id_: _Id, patients: _Patients = None, source: _From = None) -> None:
    """Let patients join a group."""
    session = session_of(context)

    async def work(client: SluiceClient) -> MembersChanged:
        return await client.add_members(id_, _named(patients, source, required=True))

    _tell(session, session.call(work))


@groups.command("remove")
def remove_members(
    context: typer.Context, id_: _Id, patients: _Patients = None, source: _From = None
) -> None:
    """Let patients leave a group."""
    session = session_of(context)

    async def work(client: SluiceClient) -> MembersChanged:
        return await client.remove_members(id_, _named(patients, source, required=True))

    _tell(session, session.call(work))


@groups.command("replace")
def replace_group(
    context: typer.Context,
    id_: _Id,
    patients: _Patients = None,
    name: Annotated[str | None, typer.Option(help="another name")] = None,
    source: _From = None,
) -> None:
    """Give a group these patients and no others, up to ten thousand; who stays keeps the time of joining."""
    session = session_of(context)

    async def work(client: SluiceClient) -> Group:
        named = _named(patients, source, required=True)
        return await client.replace_group(id_, name or (await client.group(id_)).name, named)

    made = session.call(work)
    session.show(made, lambda: f"{made.id}: {counted(made.members, 'member')}")


@groups.command("delete")
def delete_group(context: typer.Context, id_: _Id) -> None:
    """Delete a group; what is granted of it is revoked, its patients' data stay."""
    session = session_of(context)
    session.call(lambda client: client.delete_group(id_))
    session.show({"deleted": id_}, lambda: "deleted")


def _tell(session: Session, done: MembersChanged) -> None:
    text = f"{done.added} joined, {done.removed} left, {counted(done.members, 'member')}"
    if done.not_in_store:
        are = "is" if done.not_in_store == 1 else "are"
        text += f"; {done.not_in_store} of those named {are} not in the store (yet)"
    session.show(done, lambda: text)


def _named(patients: list[str] | None, source: Path | None, *, required: bool = False) -> list[str]:
    found = [*(patients or ()), *(() if source is None else text_of(source).splitlines())]
    named = [each.strip() for each in found if each.strip()]
    if required and not named:
        raise SluiceError("No patients are named.", "Give their ids, or --from a file.")
    return named
