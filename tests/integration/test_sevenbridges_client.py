"""The official Seven Bridges client against the gateway: it lists, pages, reads, changes and downloads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sevenbridges
from sevenbridges.errors import BadRequest, Forbidden, NotFound, Unauthorized

from sluice_stack.source import rules
from sluice_stack.stack import Stack
from support.gateway_real import RealSite, listening_gateway
from support.portal import new_portal
from support.stack import Database

LARGE = bytes(range(256)) * 24_000  # more than one of the client's five megabyte parts


@pytest.fixture
async def served(database: Database) -> AsyncIterator[tuple[RealSite, str]]:
    async with listening_gateway(database) as found:
        yield found


def client(site: RealSite, url: str, *, bearer: bool = False, **kwargs: Any) -> Any:
    """Make the client for `ann`, or whom `kwargs` name; it takes http only when it is told to debug."""
    token = site.authority.mint(**{"client": "portal", "subject": "ann", **kwargs})
    how = {"oauth_token": token} if bearer else {"token": token}
    return sevenbridges.Api(url=f"{url}/v2", debug=True, retry_count=1, **how)


async def test_it_lists_pages_reads_and_downloads_files(served: tuple[RealSite, str], tmp_path: Path) -> None:
    site, url = served
    project = await site.bench.project("ann")
    for number in range(7):
        await site.bench.file(
            project,
            f"{number}.txt",
            f"content {number}".encode(),
            metadata={"study_id": "1", "number": number, "codes": ["a", "b"]},
            tags=("INCLUDE",) if number % 2 else (),
        )
    await site.bench.file(project, "large.bin", LARGE)

    def use() -> None:
        api = client(site, url)
        assert api.users.me().username == "ann"
        (found,) = api.projects.query().all()
        assert found.id == project.id
        assert api.projects.get(project.id).root_folder == project.root

        first = api.files.query(project=project.id, limit=3)
        assert first.total == 8
        assert [file.name for file in first] == ["0.txt", "1.txt", "2.txt"]
        assert [file.name for file in first.next_page()] == ["3.txt", "4.txt", "5.txt"]
        assert [file.name for file in first.next_page().previous_page()] == ["0.txt", "1.txt", "2.txt"]
        assert len(list(first.all())) == 8
        assert len(api.files.query(parent=project.root)) == 8
        assert [file.name for file in api.files.query(project=project.id, names=["3.txt"])] == ["3.txt"]
        assert len(api.files.query(project=project.id, tags=["INCLUDE"])) == 3
        assert [f.name for f in api.files.query(project=project.id, metadata={"number": 4})] == ["4.txt"]

        file = api.files.get(first[1].id)
        assert file.metadata["study_id"] == "1"
        assert file.metadata["codes"] == ["a", "b"]
        assert file.tags == ["INCLUDE"]
        assert file.size == len("content 1")
        assert abs(file.created_on.timestamp() - time.time()) < 86_400
        assert file.parent == project.root
        assert not file.is_folder()
        assert file.storage.type == "PLATFORM"
        assert file.reload().name == "1.txt"

        records = api.files.bulk_get([first[0].id, "0" * 24, first[2].id])
        assert [record.valid for record in records] == [True, False, True]
        assert records[2].resource.name == "2.txt"
        assert records[1].error.status == 404

        assert b"".join(first[0].stream()) == b"content 0"
        assert first[1].content() == "content 1"
        (large,) = api.files.query(project=project.id, names=["large.bin"])
        large.download(str(tmp_path / "large.bin"))
        assert (tmp_path / "large.bin").read_bytes() == LARGE

        assert api.limit == 1000
        assert api.remaining == 1000
        assert api.reset_time.timestamp() <= time.time() + 301
        assert api.rate_limit.get().rate.limit == 1000
        assert api.endpoints.get().user_url == f"{url}/v2/user"

    await asyncio.to_thread(use)


async def test_it_reads_what_an_import_brought(stack: Stack, tmp_path: Path) -> None:
    async with new_portal(stack) as portal:
        documents = [f"{stack.layout.source_url}/r4/fhir/DocumentReference/bench-00120{n}" for n in range(3)]
        job = await portal.submit(documents, extra={"metadata": {"cohort": "seven"}})
        (ended,) = await portal.finished([job])
        token = await portal.account.token(portal.http)
    assert [each["document_version"] for each in ended["result"]] == ["1"] * 3

    def use() -> None:
        api = sevenbridges.Api(url=f"{stack.addresses.gateway}/v2", debug=True, retry_count=1, token=token)
        files = list(api.files.query(project=portal.project).all())
        assert {file.id for file in files} == {each["resource"]["id"] for each in ended["result"]}
        for number, result in enumerate(ended["result"]):
            file = api.files.get(result["resource"]["id"])
            assert file.metadata["cohort"] == "seven"
            file.download(str(tmp_path / file.name))
            assert (tmp_path / file.name).read_bytes() == rules.bench_content(1200 + number)

    await asyncio.to_thread(use)


async def test_it_changes_projects_folders_and_files(served: tuple[RealSite, str]) -> None:
    site, url = served

    def prepare() -> tuple[Any, Any]:
        api = client(site, url, bearer=True)
        project = api.projects.create(name="My study", description="d", tags=["t"])
        assert project.id == "ann/my-study"
        project.name = "Your study"
        assert project.save().name == "Your study"
        folder = api.files.create_folder("sub", project=project.id)
        assert folder.is_folder()
        below = api.files.create_folder("deep", parent=folder)
        assert [entry.name for entry in folder.list_files()] == ["deep"]
        below.delete()
        member = project.add_member("bob", {"write": True, "read": True})
        assert member.username == "bob"
        assert {entry.username for entry in project.get_members()} == {"ann", "bob"}
        assert project.get_member("bob").permissions["write"]
        return api, project

    api, project = await asyncio.to_thread(prepare)
    stored = await site.bench.catalogue.projects.get("ann", project.id)
    file_id = await site.bench.file(stored, "a.txt", metadata={"a": "1"})

    def change() -> None:
        file = api.files.get(file_id)
        file.metadata["b"] = "2"
        file.tags = ["x"]
        file.name = "b.txt"
        file.save()
        read = api.files.get(file_id)
        assert dict(read.metadata) == {"a": "1", "b": "2"}
        assert (read.tags, read.name) == (["x"], "b.txt")
        read.metadata = {"only": "this"}
        read.save()
        assert dict(api.files.get(file_id).metadata) == {"only": "this"}
        (folder,) = api.files.query(project=project.id, names=["sub"])
        moved = read.move_to_folder(folder)
        assert moved.parent == folder.id
        moved.delete()
        with pytest.raises(NotFound) as missing:
            api.files.get(file_id)
        assert missing.value.status == 404
        assert missing.value.message
        project.remove_member("bob")
        project.delete()
        assert len(api.projects.query()) == 0

    await asyncio.to_thread(change)


async def test_it_is_told_what_is_wrong_in_its_own_errors(served: tuple[RealSite, str]) -> None:
    site, url = served
    theirs = await site.bench.project("bob")

    def use() -> None:
        api = client(site, url)
        with pytest.raises(NotFound):
            api.projects.get(theirs.id)
        with pytest.raises(NotFound):
            api.files.query(project=theirs.id)
        with pytest.raises(BadRequest) as bad:
            api.files.create_folder("a/b", project=theirs.id)
        assert "name" in bad.value.message
        with pytest.raises(Forbidden):
            client(site, url, scopes="bulk/import").projects.query()
        with pytest.raises(Unauthorized):
            client(site, url, lifetime=-10).projects.query()

    await asyncio.to_thread(use)
