"""Projects, folders and files as the files API sees them, on a real Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from sluice_storage.catalogue.model import (
    EntryKind,
    ForbiddenError,
    InvalidMoveError,
    Listing,
    Member,
    NameTakenError,
    NotEmptyError,
    NotFoundError,
    Permissions,
)
from support.catalogue import Bench, open_bench
from support.stack import Database


@pytest.fixture
async def bench(database: Database) -> AsyncIterator[Bench]:
    async with open_bench(database) as opened:
        yield opened


async def test_a_new_project_has_an_empty_root_and_its_creator_may_do_everything(bench: Bench) -> None:
    made = await bench.catalogue.projects.create("ada", "ada/trial", name="Trial", tags=["x"])
    assert made == await bench.catalogue.projects.get("ada", "ada/trial")
    assert made.permissions == Permissions(write=True, copy=True, execute=True, admin=True)
    root = await bench.catalogue.entries.get("ada", made.root)
    assert (root.kind, root.parent, root.project) == (EntryKind.FOLDER, None, "ada/trial")
    assert (await bench.catalogue.entries.list("ada", Listing(made.root))).total == 0
    with pytest.raises(NameTakenError):
        await bench.catalogue.projects.create("bob", "ada/trial", name="Mine")


async def test_what_a_subject_is_no_member_of_does_not_exist_for_them(bench: Bench) -> None:
    project = await bench.project("ada")
    file = await bench.file(project, "a.txt")
    catalogue = bench.catalogue
    for attempt in (
        catalogue.projects.get("eve", project.id),
        catalogue.projects.change("eve", project.id, name="x"),
        catalogue.members.list("eve", project.id),
        catalogue.members.put("eve", project.id, Member("eve", Permissions(admin=True))),
        catalogue.entries.get("eve", file),
        catalogue.entries.list("eve", Listing(project.root)),
        catalogue.entries.open("eve", file),
        catalogue.entries.change("eve", file, name="x"),
        catalogue.entries.create_folder("eve", project.root, "x"),
        catalogue.remove.entry("eve", file),
        catalogue.remove.project("eve", project.id),
    ):
        with pytest.raises(NotFoundError):
            await attempt
    assert (await catalogue.projects.list("eve")).total == 0
    assert await catalogue.entries.get_many("eve", [file]) == {}
    found = await catalogue.projects.destinations("eve", projects=[project.id], folders=[project.root])
    assert not found.projects
    assert not found.folders
    assert not found.refused


async def test_a_member_without_the_permission_reads_and_is_refused_the_rest(bench: Bench) -> None:
    project = await bench.project("ada")
    file = await bench.file(project, "a.txt", b"hello")
    catalogue = bench.catalogue
    await catalogue.members.put("ada", project.id, Member("bob", Permissions()))
    content = await catalogue.entries.open("bob", file, start=1, end=3)
    assert b"".join([chunk async for chunk in content.chunks]) == b"el"
    for attempt in (
        catalogue.projects.change("bob", project.id, name="x"),
        catalogue.members.put("bob", project.id, Member("bob", Permissions(admin=True))),
        catalogue.entries.change("bob", file, name="x"),
        catalogue.entries.create_folder("bob", project.root, "x"),
        catalogue.remove.entry("bob", file),
        catalogue.remove.project("bob", project.id),
    ):
        with pytest.raises(ForbiddenError):
            await attempt
    found = await catalogue.projects.destinations("bob", projects=[project.id], folders=[project.root])
    assert found.refused == {project.id, project.root}


async def test_a_project_always_keeps_an_administrator(bench: Bench) -> None:
    project = await bench.project("ada")
    members = bench.catalogue.members
    with pytest.raises(ForbiddenError):
        await members.remove("ada", project.id, "ada")
    with pytest.raises(ForbiddenError):
        await members.put("ada", project.id, Member("ada", Permissions(write=True)))
    await members.put("ada", project.id, Member("bob", Permissions(admin=True)))
    await members.remove("ada", project.id, "ada")
    assert [member.subject for member in (await members.list("bob", project.id)).items] == ["bob"]


async def test_destinations_are_the_roots_and_folders_one_may_write_into(bench: Bench) -> None:
    project = await bench.project("ada")
    folder = await bench.catalogue.entries.create_folder("ada", project.root, "in")
    file = await bench.file(project, "a.txt")
    found = await bench.catalogue.projects.destinations(
        "ada", projects=[project.id, "no/such"], folders=[folder.id, file, "f" * 24]
    )
    assert {where.folder for where in found.projects.values()} == {project.root}
    assert set(found.folders) == {folder.id}


async def test_files_and_folders_share_one_namespace(bench: Bench) -> None:
    project = await bench.project("ada")
    file = await bench.file(project, "a")
    entries = bench.catalogue.entries
    with pytest.raises(NameTakenError) as taken:
        await entries.create_folder("ada", project.root, "a")
    assert taken.value.entry == file
    folder = await entries.create_folder("ada", project.root, "b")
    with pytest.raises(NameTakenError):
        await entries.change("ada", folder.id, name="a")
    assert (await entries.change("ada", folder.id, name="b")).name == "b"
    assert (await entries.change("ada", folder.id, name="c")).name == "c"


async def test_a_listing_filters_pages_and_counts_everything_that_matches(bench: Bench) -> None:
    project = await bench.project("ada")
    entries = bench.catalogue.entries
    folder = await entries.create_folder("ada", project.root, "sub")
    for number in range(7):
        await bench.file(
            project,
            f"f{number}.txt",
            metadata={"n": number, "even": number % 2 == 0, "kind": ["x", f"k{number}"], "site": "a"},
            tags=("odd",) if number % 2 else ("even", "all"),
        )
    await bench.file(project, "deep.txt", folder=folder.id, metadata={"n": 99, "site": "b"})

    async def names(**query: object) -> tuple[list[str], int]:
        page = await entries.list("ada", Listing(project.root, **query))  # type: ignore[arg-type]
        return [entry.name for entry in page.items], page.total

    assert await names(limit=3, offset=5) == (["f5.txt", "f6.txt", "sub"], 8)
    assert await names(offset=100) == ([], 8)
    assert await names(kind=EntryKind.FOLDER) == (["sub"], 1)
    assert await names(names=("f1.txt", "f3.txt", "no")) == (["f1.txt", "f3.txt"], 2)
    assert await names(tags=("odd", "all"), limit=2) == (["f0.txt", "f1.txt"], 7)
    assert await names(metadata={"n": ("2", "4")}) == (["f2.txt", "f4.txt"], 2)
    assert await names(metadata={"n": ("2", "3"), "even": ("true",)}) == (["f2.txt"], 1)
    assert await names(metadata={"kind": ("k5",)}) == (["f5.txt"], 1)
    assert await names(metadata={"site": ("b",)}) == ([], 0)
    assert await names(metadata={"site": ("b",)}, recursive=True) == (["deep.txt"], 1)
    assert await names(job=str(uuid4())) == ([], 0)
    below = await entries.list("ada", Listing(folder.id, recursive=True))
    assert [entry.name for entry in below.items] == ["deep.txt"]
    with pytest.raises(NotFoundError):
        await entries.list("ada", Listing(below.items[0].id))


async def test_metadata_is_merged_and_a_null_removes_its_key(bench: Bench) -> None:
    project = await bench.project("ada")
    file = await bench.file(project, "a.txt", metadata={"keep": "1", "drop": 2})
    entries = bench.catalogue.entries
    changed = await entries.change("ada", file, metadata={"drop": None, "new": ["a", "b"]}, tags=["t"])
    assert changed.metadata == {"keep": "1", "new": ["a", "b"]}
    assert changed.tags == ("t",)
    replaced = await entries.change("ada", file, metadata={"only": True}, replace_metadata=True)
    assert replaced.metadata == {"only": True}


async def test_a_folder_never_moves_into_itself_or_out_of_its_project(bench: Bench) -> None:
    project, other = await bench.project("ada"), await bench.project("ada")
    entries = bench.catalogue.entries
    outer = await entries.create_folder("ada", project.root, "outer")
    inner = await entries.create_folder("ada", outer.id, "inner")
    file = await bench.file(project, "a.txt")
    for entry, target in (
        (outer.id, inner.id),
        (outer.id, outer.id),
        (file, other.root),
        (project.root, outer.id),
    ):
        with pytest.raises(InvalidMoveError):
            await entries.move("ada", entry, target)
    assert (await entries.move("ada", file, inner.id, name="b.txt")).parent == inner.id
    assert (await entries.move("ada", inner.id, project.root)).parent == project.root


async def test_deleting_the_last_file_of_a_content_removes_the_content(bench: Bench) -> None:
    project = await bench.project("ada")
    one = await bench.file(project, "one.txt", b"same")
    two = await bench.file(project, "two.txt", b"same")
    entries = bench.catalogue.entries
    await bench.catalogue.remove.entry("ada", one)
    left = await entries.open("ada", two)
    assert b"".join([chunk async for chunk in left.chunks]) == b"same"
    await bench.catalogue.remove.entry("ada", two)
    with pytest.raises(NotFoundError):
        await bench.catalogue.entries.open("ada", two)
    assert await bench.stored() == set()


async def test_a_folder_that_holds_something_goes_only_with_all_that_is_in_it(bench: Bench) -> None:
    project = await bench.project("ada")
    entries = bench.catalogue.entries
    outer = await entries.create_folder("ada", project.root, "outer")
    inner = await entries.create_folder("ada", outer.id, "inner")
    deep = await bench.file(project, "deep.txt", b"deep", folder=inner.id)
    sha256 = (await entries.get("ada", deep)).sha256 or b""
    with pytest.raises(NotEmptyError):
        await bench.catalogue.remove.entry("ada", outer.id)
    with pytest.raises(InvalidMoveError):
        await bench.catalogue.remove.entry("ada", project.root, recursive=True)
    await bench.catalogue.remove.entry("ada", outer.id, recursive=True)
    assert await entries.get_many("ada", [outer.id, inner.id, deep]) == {}
    assert not await bench.has(sha256)


async def test_a_deleted_project_leaves_nothing(bench: Bench) -> None:
    project = await bench.project("ada")
    file = await bench.file(project, "a.txt", b"gone")
    sha256 = (await bench.catalogue.entries.get("ada", file)).sha256 or b""
    await bench.catalogue.remove.project("ada", project.id)
    with pytest.raises(NotFoundError):
        await bench.catalogue.entries.get("ada", file)
    assert (await bench.catalogue.projects.list("ada")).total == 0
    assert not await bench.has(sha256)
