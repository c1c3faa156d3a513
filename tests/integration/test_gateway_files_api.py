"""The files API on a real Postgres: projects, members, folders, files, metadata, tags, downloads."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.gateway_real import RealSite, real_gateway
from support.stack import Database

BOB = {"subject": "bob"}


@pytest.fixture
async def site(database: Database) -> AsyncIterator[RealSite]:
    async with real_gateway(database) as found:
        yield found


async def made(site: RealSite, path: str, body: dict[str, Any], **who: Any) -> dict[str, Any]:
    answer = await site.post(path, json=body, headers=site.bearer(**who))
    shown: dict[str, Any] = await answer.json()
    assert answer.status == 201, shown
    assert answer.headers["Location"] == shown["href"]
    return shown


async def listed(site: RealSite, path: str, **who: Any) -> tuple[list[str], int]:
    answer = await site.get(path, headers=site.bearer(**who))
    body = await answer.json()
    assert answer.status == 200, body
    return [item["name"] for item in body["items"]], int(answer.headers["X-Total-Matching-Query"])


async def test_a_project_is_made_under_its_owners_name_and_seen_by_its_members_only(site: RealSite) -> None:
    first = await made(site, "/v2/projects", {"name": "FHIR Import", "tags": ["x"]})
    second = await made(site, "/v2/projects", {"name": "fhir import!"})
    assert (first["id"], second["id"]) == ("ann/fhir-import", "ann/fhir-import-2")
    assert (await listed(site, "/v2/projects"))[0] == ["FHIR Import", "fhir import!"]
    assert (await listed(site, "/v2/projects/"))[1] == 2
    assert (await listed(site, "/v2/projects?name=IMPORT!"))[0] == ["fhir import!"]
    assert (await listed(site, "/v2/projects/ann"))[1] == 2
    assert (await listed(site, "/v2/projects/bob"))[1] == 0
    assert (await listed(site, "/v2/projects", **BOB))[1] == 0
    absent = await site.get("/v2/projects/ann/absent", headers=site.bearer(**BOB))
    theirs = await site.get("/v2/projects/ann/fhir-import", headers=site.bearer(**BOB))
    assert (theirs.status, await theirs.text()) == (absent.status, await absent.text())
    assert theirs.status == 404


async def test_a_project_is_changed_and_deleted_with_what_is_in_it(site: RealSite) -> None:
    project = await made(site, "/v2/projects", {"name": "One", "description": "d"})
    path = f"/v2/projects/{project['id']}"
    changed = await site.call("PATCH", path, json={"name": "Two", "tags": ["t"]}, headers=site.bearer())
    body = await changed.json()
    assert (body["name"], body["tags"], body["description"]) == ("Two", ["t"], "d")
    folder = await made(site, "/v2/files", {"name": "f", "type": "folder", "project": project["id"]})
    assert (await site.call("DELETE", path, headers=site.bearer(), json={})).status == 204
    assert (await site.get(path, headers=site.bearer())).status == 404
    assert (await site.get(f"/v2/files/{folder['id']}", headers=site.bearer())).status == 404


async def test_members_see_and_may_do_what_they_are_permitted(site: RealSite) -> None:
    project = await made(site, "/v2/projects", {"name": "Shared"})
    path = f"/v2/projects/{project['id']}"
    member = await made(site, path + "/members", {"username": "bob", "permissions": {"write": False}})
    assert member["permissions"] == {
        "read": True,
        "write": False,
        "copy": False,
        "execute": False,
        "admin": False,
    }
    assert (await site.get(path, headers=site.bearer(**BOB))).status == 200
    folder = {"name": "f", "type": "folder", "project": project["id"]}
    assert (await site.post("/v2/files", json=folder, headers=site.bearer(**BOB))).status == 403
    changed = await site.call(
        "PATCH",
        member["href"].removeprefix("https://api.test") + "/permissions",
        json={"write": True},
        headers=site.bearer(),
    )
    assert (await changed.json())["permissions"]["write"]
    assert (await site.post("/v2/files", json=folder, headers=site.bearer(**BOB))).status == 201
    listing = await (await site.get(path + "/members", headers=site.bearer(**BOB))).json()
    assert [item["username"] for item in listing["items"]] == ["ann", "bob"]
    answer = await site.call("DELETE", path + "/members/ann", headers=site.bearer(**BOB))
    assert answer.status == 403
    assert (await site.call("DELETE", path + "/members/bob", headers=site.bearer())).status == 204
    assert (await site.get(path, headers=site.bearer(**BOB))).status == 404
    assert (await site.call("DELETE", path + "/members/ann", headers=site.bearer())).status == 403


async def test_files_are_listed_by_place_and_narrowed_by_name_tag_and_metadata(site: RealSite) -> None:
    project = await site.bench.project("ann")
    folder = await made(site, "/v2/files", {"name": "sub", "type": "folder", "project": project.id})
    await site.bench.file(project, "a.txt", metadata={"study": "1", "n": 4}, tags=("x",))
    await site.bench.file(project, "b.txt", metadata={"study": "2"}, tags=("y",))
    await site.bench.file(project, "c.txt", folder=folder["id"])
    at = f"/v2/files?project={project.id}"
    assert await listed(site, at) == (["a.txt", "b.txt", "sub"], 3)
    assert await listed(site, at + "/") == (["a.txt", "b.txt", "sub"], 3)
    assert await listed(site, f"/v2/files?parent={folder['id']}") == (["c.txt"], 1)
    assert await listed(site, f"/v2/files/{folder['id']}/list") == (["c.txt"], 1)
    assert await listed(site, at + "&name=a.txt&name=b.txt") == (["a.txt", "b.txt"], 2)
    assert await listed(site, at + "&tag=y") == (["b.txt"], 1)
    assert await listed(site, at + "&metadata.study=1&metadata.n=4") == (["a.txt"], 1)
    assert await listed(site, at + "&metadata.study=1&tag=y") == ([], 0)
    assert await listed(site, at + "&limit=1&offset=1") == (["b.txt"], 3)
    page = await (await site.get(at + "&limit=1&offset=1&tag=x&tag=y", headers=site.bearer())).json()
    assert [link["rel"] for link in page["links"]] == ["prev"]
    assert "tag=x&tag=y" in page["links"][0]["href"]
    for wrong in ("/v2/files", at + f"&parent={folder['id']}"):
        assert (await site.get(wrong, headers=site.bearer())).status == 400


async def test_names_tags_and_metadata_are_changed_merged_and_replaced(site: RealSite) -> None:
    project = await site.bench.project("ann")
    file = await site.bench.file(project, "a.txt", metadata={"a": "1", "b": "2"})
    path = f"/v2/files/{file}"

    async def send(method: str, below: str, body: Any) -> Any:
        answer = await site.call(method, path + below, json=body, headers=site.bearer())
        assert answer.status == 200, await answer.text()
        return await answer.json()

    assert (await send("PATCH", "", {"name": "b.txt"}))["name"] == "b.txt"
    assert await send("PATCH", "/metadata", {"b": None, "c": ["x"]}) == {"a": "1", "c": ["x"]}
    assert await send("PUT", "/metadata", {"d": 1}) == {"d": 1}
    assert await send("PUT", "/tags", ["t", "t", "u"]) == ["t", "u"]
    shown = await (await site.get(path, headers=site.bearer())).json()
    assert (shown["name"], shown["tags"], shown["metadata"]) == ("b.txt", ["t", "u"], {"d": 1})
    assert await (await site.get(path + "/tags", headers=site.bearer())).json() == ["t", "u"]
    assert await (await site.get(path + "/metadata", headers=site.bearer())).json() == {"d": 1}
    for below, body in (("", {"name": "a/b"}), ("/metadata", {"a": {}}), ("", {"size": 1})):
        refused = await site.call("PATCH", path + below, json=body, headers=site.bearer())
        assert refused.status == 400


async def test_a_name_that_is_taken_and_a_folder_that_is_not_empty_are_conflicts(site: RealSite) -> None:
    project = await site.bench.project("ann")
    body = {"name": "sub", "type": "folder", "parent": project.root}
    folder = await made(site, "/v2/files", body)
    assert (await site.post("/v2/files", json=body, headers=site.bearer())).status == 409
    await site.bench.file(project, "c.txt", folder=folder["id"])
    path = f"/v2/files/{folder['id']}"
    refused = await site.call("DELETE", path, headers=site.bearer())
    assert (refused.status, (await refused.json())["code"]) == (409, "not_empty")
    assert (await site.call("DELETE", path + "?recursive=true", headers=site.bearer())).status == 204
    assert (await site.get(path, headers=site.bearer())).status == 404


async def test_files_in_bulk_come_in_the_order_asked_for_each_by_itself(site: RealSite) -> None:
    project, theirs = await site.bench.project("ann"), await site.bench.project("bob")
    files = [await site.bench.file(project, f"{n}.txt", str(n).encode()) for n in range(3)]
    secret = await site.bench.file(theirs, "secret.txt")
    asked = {"file_ids": [files[2], secret, "0" * 24, files[0]]}
    body = await (await site.post("/v2/bulk/files/get", json=asked, headers=site.bearer())).json()
    names = [item["resource"] and item["resource"]["name"] for item in body["items"]]
    assert names == ["2.txt", None, None, "0.txt"]
    assert body["items"][1] == body["items"][2]
    assert isinstance(body["items"][1]["error"]["code"], int)


async def address(site: RealSite, file: str) -> str:
    info = await (await site.get(f"/v2/files/{file}/download_info", headers=site.bearer())).json()
    return str(info["url"]).removeprefix("https://api.test")


async def test_content_is_fetched_whole_by_range_and_only_if_changed(site: RealSite) -> None:
    project = await site.bench.project("ann")
    content = bytes(range(256)) * 4000
    file = await site.bench.file(project, 'naïve "x".bin', content)
    url = await address(site, file)
    whole = await site.get(url)
    assert await whole.read() == content
    etag = whole.headers["ETag"]
    assert etag == f'"{hashlib.sha256(content).hexdigest()}"'
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    assert whole.headers["Content-Length"] == str(len(content))
    assert whole.headers["Content-Disposition"].startswith("attachment; filename=")
    assert "sandbox" in whole.headers["Content-Security-Policy"]
    for field, start, end in (
        ("bytes=0-4", 0, 5),
        ("bytes=1000000-", 1_000_000, len(content)),
        ("bytes=-7", len(content) - 7, len(content)),
        ("bytes=5-99999999", 5, len(content)),
    ):
        part = await site.get(url, headers={"Range": field})
        assert part.status == 206
        assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(content)}"
        assert await part.read() == content[start:end]
    beyond = await site.get(url, headers={"Range": f"bytes={len(content)}-"})
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{len(content)}")
    for field in ("bytes=4-2", "bytes=0-1,4-5", "lines=1-2", "bytes=x"):
        assert (await site.get(url, headers={"Range": field})).status == 200
    changed = await site.get(url, headers={"Range": "bytes=0-4", "If-Range": '"other"'})
    assert changed.status == 200
    assert (await site.get(url, headers={"If-None-Match": etag})).status == 304
    for more in ({}, {"Range": "bytes=0-4"}, {"Range": f"bytes={len(content)}-"}):
        head = await site.call("HEAD", url, headers=more)
        length = head.headers["Content-Length"]
        assert (head.status, length, await head.read()) == (200, str(len(content)), b"")


async def test_conditions_on_content_are_asked_in_the_order_of_the_standard(site: RealSite) -> None:
    project = await site.bench.project("ann")
    url = await address(site, await site.bench.file(project, "x.txt", b"0123456789"))
    told = await site.call("HEAD", url)
    tag, time = told.headers["ETag"], told.headers["Last-Modified"]
    early, late = "Sat, 01 Jan 2000 00:00:00 GMT", "Sat, 01 Jan 2050 00:00:00 GMT"
    for asked, status in (
        ({"If-Match": tag}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": f"W/{tag}"}, 412),
        ({"If-Match": '"x"', "If-None-Match": tag, "Range": "bytes=10-"}, 412),
        ({"If-Unmodified-Since": time}, 200),
        ({"If-Unmodified-Since": early}, 412),
        ({"If-Unmodified-Since": early, "If-Match": tag}, 200),
        ({"If-None-Match": tag, "Range": "bytes=10-"}, 304),
        ({"If-Modified-Since": time}, 304),
        ({"If-Modified-Since": early}, 200),
        ({"If-Modified-Since": late, "If-None-Match": '"x"'}, 200),
        ({"If-Match": tag, "Range": "bytes=0-4"}, 206),
        ({"If-Match": tag, "Range": "bytes=10-"}, 416),
        ({"Range": "bytes=0-4", "If-Range": time}, 200),
    ):
        answer = await site.get(url, headers=asked)
        assert (answer.status, asked) == (status, asked)


async def test_an_empty_file_is_fetched_as_nothing(site: RealSite) -> None:
    project = await site.bench.project("ann")
    file = await site.bench.file(project, "empty", b"")
    answer = await site.get(await address(site, file))
    assert (answer.status, await answer.read(), answer.headers["Content-Length"]) == (200, b"", "0")


async def test_a_download_address_ends_with_the_file_and_with_the_membership(site: RealSite) -> None:
    project = await site.bench.project("ann")
    await made(site, f"/v2/projects/{project.id}/members", {"username": "bob"})
    file = await site.bench.file(project, "a.txt")
    info = await (await site.get(f"/v2/files/{file}/download_info", headers=site.bearer(**BOB))).json()
    url = info["url"].removeprefix("https://api.test")
    assert (await site.get(url)).status == 200
    await site.call("DELETE", f"/v2/projects/{project.id}/members/bob", headers=site.bearer())
    assert (await site.get(url)).status == 404
    own = await address(site, file)
    await site.call("DELETE", f"/v2/files/{file}", headers=site.bearer())
    assert (await site.get(own)).status == 404


async def test_content_without_a_ticket_or_with_another_files_does_not_exist(site: RealSite) -> None:
    project = await site.bench.project("ann")
    one, two = [await site.bench.file(project, name, name.encode()) for name in ("1", "2")]
    ticket = (await address(site, one)).partition("?")[2]
    assert (await site.get(f"/v2/files/{one}/content", headers=site.bearer())).status == 404
    assert (await site.get(f"/v2/files/{two}/content?{ticket}")).status == 404
    folder = await site.get(f"/v2/files/{project.root}/download_info", headers=site.bearer())
    assert folder.status == 400


async def test_to_a_stranger_everything_of_a_project_is_like_what_does_not_exist(site: RealSite) -> None:
    project = await site.bench.project("ann")
    file = await site.bench.file(project, "a.txt")
    bodies: dict[str, Any] = {"": {"name": "x"}, "/metadata": {"a": "b"}, "/tags": ["t"]}
    asked: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("DELETE", "", None),
        ("GET", "/metadata", None),
        ("GET", "/tags", None),
        ("GET", "/download_info", None),
        ("GET", "/list", None),
        ("POST", "/actions/move", {"parent": project.root}),
        *(("PATCH", below, body) for below, body in bodies.items() if below != "/tags"),
        *(("PUT", below, body) for below, body in bodies.items() if below),
    ]
    for method, below, body in asked:
        answers = []
        for name in (file, "0" * 24):
            send = {"json": body} if body is not None else {}
            answer = await site.call(method, f"/v2/files/{name}{below}", headers=site.bearer(**BOB), **send)
            answers.append((answer.status, await answer.text()))
        assert answers[0] == answers[1], (method, below)
        assert answers[0][0] == 404
    for path in (f"/v2/files?project={project.id}", f"/v2/files?parent={project.root}"):
        assert (await site.get(path, headers=site.bearer(**BOB))).status == 404
    shown = await (await site.get(f"/v2/files/{file}", headers=site.bearer())).json()
    assert (shown["name"], shown["metadata"], shown["tags"]) == ("a.txt", {}, [])
