"""Downloads: whole or resumed, checked, and in place only when right."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from sluice_client import Credentials, DownloadError, Patience, SluiceClient, UnreachableError
from sluice_client.downloads import safe_name
from support.fake_sluice import FakeFile, FakeSluice

ID = "a" * 24
CONTENT = bytes(range(256)) * 4000


@pytest.fixture
async def service() -> AsyncIterator[FakeSluice]:
    async with FakeSluice() as service:
        service.clients["portal"] = "secret"
        service.files[ID] = FakeFile(ID, "report.pdf", "ann/p", CONTENT)
        yield service


@pytest.fixture
async def client(service: FakeSluice) -> AsyncIterator[SluiceClient]:
    patience = Patience(attempts=3, first=0.001, longest=0.002)
    credentials = Credentials(client_id="portal", client_secret="secret")
    async with SluiceClient(service.url, credentials=credentials, patience=patience) as client:
        yield client


def names(folder: Path) -> list[str]:
    return [it.name for it in folder.iterdir()]


async def break_off(request: web.Request) -> web.StreamResponse:
    """Send some of what is left, then break the connection."""
    start = request.http_range.start or 0
    digest = hashlib.sha256(CONTENT).hexdigest()
    headers = {"ETag": f'"{digest}"', "Content-Length": str(len(CONTENT) - start)}
    if start:
        headers["Content-Range"] = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
    response = web.StreamResponse(status=206 if start else 200, headers=headers)
    await response.prepare(request)
    await response.write(CONTENT[start : start + 300_000])
    await asyncio.sleep(0.01)
    assert request.transport is not None
    request.transport.close()
    return response


async def test_a_file_is_downloaded_checked_and_put_in_place(client: SluiceClient, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    done = await client.download(ID, tmp_path / "deep" / "r.pdf", lambda *it: told.append(it))
    assert (tmp_path / "deep" / "r.pdf").read_bytes() == CONTENT
    assert (done.size, done.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert names(tmp_path / "deep") == ["r.pdf"]


async def test_a_broken_download_goes_on_where_it_broke_off(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    service.faults += [("GET", f"/v2/files/{ID}/content", break_off)] * 3
    await client.download(ID, tmp_path / "r.pdf")
    assert (tmp_path / "r.pdf").read_bytes() == CONTENT
    ranges = [headers.get("Range") for headers, _ in service.sent("GET", f"/v2/files/{ID}/content")]
    assert ranges[0] is None
    assert all(ranges[1:])


async def test_a_later_call_takes_up_what_an_earlier_one_left(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    (tmp_path / f".r.pdf.{digest[:16]}.part").write_bytes(CONTENT[:1000])
    await client.download(ID, tmp_path / "r.pdf")
    assert (tmp_path / "r.pdf").read_bytes() == CONTENT
    ((headers, _),) = service.sent("GET", f"/v2/files/{ID}/content")
    assert headers["Range"] == "bytes=1000-"


async def test_a_damaged_part_is_noticed_and_fetched_anew(client: SluiceClient, tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    (tmp_path / f".r.pdf.{digest[:16]}.part").write_bytes(b"x" * 1000)
    await client.download(ID, tmp_path / "r.pdf")
    assert (tmp_path / "r.pdf").read_bytes() == CONTENT


async def test_content_that_is_not_the_announced_one_never_gets_into_place(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    service.files[ID].etag = "0" * 64
    (tmp_path / "r.pdf").write_bytes(b"what was there")
    with pytest.raises(DownloadError, match="not the announced one"):
        await client.download(ID, tmp_path / "r.pdf")
    assert (tmp_path / "r.pdf").read_bytes() == b"what was there"
    assert names(tmp_path) == ["r.pdf"]


async def test_what_is_already_there_is_not_fetched_again(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    (tmp_path / "r.pdf").write_bytes(CONTENT)
    await client.download(ID, tmp_path / "r.pdf")
    assert service.sent("GET", f"/v2/files/{ID}/content") == []


async def test_an_empty_file_is_a_file(client: SluiceClient, service: FakeSluice, tmp_path: Path) -> None:
    service.files[ID].content = b""
    await client.download(ID, tmp_path / "r.pdf")
    assert (tmp_path / "r.pdf").read_bytes() == b""


async def test_a_download_that_brings_nothing_is_given_up(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    async def nothing(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    service.faults += [("GET", f"/v2/files/{ID}/content", nothing)] * 9
    with pytest.raises(UnreachableError):
        await client.download(ID, tmp_path / "r.pdf")


async def test_a_place_that_cannot_be_written_is_named(client: SluiceClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="cannot be written"):
        await client.download(ID, tmp_path / "file" / "r.pdf")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "../x", "a\0b"])
def test_a_servers_name_never_leads_out_of_the_folder(name: str) -> None:
    with pytest.raises(DownloadError):
        safe_name(name)
