"""Files of exports over HTTP: ranges, codings, conditions; who may, and what a download outlives."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from sluice_contracts.events import JobKind
from sluice_contracts.ids import job_id
from sluice_gateway.fhir import sending
from sluice_gateway.fhir.files import _numbers
from sluice_storage.encryption.framing import FRAME, HEAD, SEALED
from sluice_storage.encryption.keys import MasterKeys
from sluice_storage.exports.objects import data_key_name
from support.gateway_memory import Site, memory_gateway

DATA = b"".join(b'{"resourceType":"Patient","id":"%d"}\n' % number for number in range(100_000))
DIGEST = hashlib.sha256(DATA).hexdigest()
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture(params=["folder", "store", "folder, not encrypted", "store, not encrypted"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    """A gateway whose files are in a folder, or in a store that gives them piece by piece; also old ones."""
    async with memory_gateway(files=tmp_path) as found:
        found.bulk.grants.give("ann")
        found.bulk.objects.plain = request.param.startswith("folder")
        found.bulk.encrypted = not request.param.endswith("not encrypted")
        yield found


@pytest.fixture(params=["folder", "store"])
async def sealed_site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    """A gateway whose files are all encrypted."""
    async with memory_gateway(files=tmp_path) as found:
        found.bulk.grants.give("ann")
        found.bulk.objects.plain = request.param == "folder"
        yield found


def listed(site: Site, data: bytes = DATA) -> tuple[str, str]:
    """End an export of one file; give the export's id and the file's path."""
    job = job_id(site.id_keys(JobKind.BULK_EXPORT), "portal/ann", site.now.at, 7)
    site.bulk.exports.add(job)
    row = site.bulk.seal(job, data)
    site.bulk.exports.end(job, datetime.fromtimestamp(site.now.at, UTC))
    return job, f"/fhir/exports/{job}/files/{row.name}"


def headers(site: Site, **more: str) -> dict[str, str]:
    return {**site.bearer(scopes="system/*.rs"), **PLAIN, **more}


async def fetch(site: Site, path: str, method: str = "GET", **more: str) -> tuple[int, bytes, Any]:
    answer = await site.call(method, path, headers=headers(site, **more), auto_decompress=False)
    return answer.status, await answer.read(), answer.headers


async def test_a_file_is_sent_whole_with_its_hash_as_its_tag(site: Site) -> None:
    _, path = listed(site)
    status, body, fields = await fetch(site, path)
    assert (status, body == DATA) == (200, True)
    assert fields["Content-Type"] == "application/fhir+ndjson"
    assert fields["ETag"] == f'"{DIGEST}"'
    assert fields["Content-Length"] == str(len(DATA))
    assert fields["Accept-Ranges"] == "bytes"
    assert "Content-Encoding" not in fields
    assert fields["Vary"] == "Accept-Encoding"
    assert fields["X-Content-Type-Options"] == "nosniff"
    assert fields["X-RateLimit-Limit"] == "1000"


async def test_asking_about_a_file_gives_its_size_and_no_body(site: Site) -> None:
    _, path = listed(site)
    status, body, fields = await fetch(site, path, "HEAD", **{"Accept-Encoding": "gzip"})
    assert (status, body, fields["Content-Length"]) == (200, b"", str(len(DATA)))
    assert fields["ETag"] == f'"{DIGEST}"'
    # The connection is still in order afterwards.
    assert (await fetch(site, path))[1] == DATA


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=100-", 100, len(DATA)),
        ("bytes=-7", len(DATA) - 7, len(DATA)),
        (f"bytes=10-{len(DATA) * 2}", 10, len(DATA)),
        (f"bytes=-{len(DATA) * 2}", 0, len(DATA)),
    ],
)
async def test_a_part_is_sent_as_asked(site: Site, asked: str, start: int, end: int) -> None:
    _, path = listed(site)
    status, body, fields = await fetch(site, path, Range=asked)
    assert (status, body == DATA[start:end]) == (206, True)
    assert fields["Content-Range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
    assert fields["ETag"] == f'"{DIGEST}"'


@pytest.mark.parametrize(
    "asked", [f"bytes={len(DATA)}-", f"bytes={len(DATA) + 5}-{len(DATA) + 9}", "bytes=-0", "bytes=-00"]
)
async def test_a_part_that_holds_nothing_is_refused_with_the_length(site: Site, asked: str) -> None:
    _, path = listed(site)
    status, body, fields = await fetch(site, path, Range=asked)
    assert (status, fields["Content-Range"]) == (416, f"bytes */{len(DATA)}")
    assert b"OperationOutcome" in body


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "lines=1-2", "bytes=9-5", "bytes=x"])
async def test_a_range_that_is_not_understood_is_left_out_of_account(site: Site, asked: str) -> None:
    _, path = listed(site)
    status, body, _ = await fetch(site, path, Range=asked)
    assert (status, len(body)) == (200, len(DATA))


@pytest.mark.parametrize(
    ("held", "status"),
    [(f'"{DIGEST}"', 206), (f'"{DIGEST}-gzip"', 200), ('"other"', 200), (f'W/"{DIGEST}"', 200)],
)
async def test_a_part_goes_on_only_from_the_same_bytes(site: Site, held: str, status: int) -> None:
    _, path = listed(site)
    found, body, _ = await fetch(site, path, **{"Range": "bytes=8-", "If-Range": held})
    assert (found, len(body)) == (status, len(DATA) - (8 if status == 206 else 0))


@pytest.mark.parametrize("accepted", ["gzip", "gzip;q=0.5, identity;q=0.1", "br, gzip", "*", "GZIP"])
async def test_a_file_is_compressed_if_that_is_accepted(site: Site, accepted: str) -> None:
    _, path = listed(site)
    status, body, fields = await fetch(site, path, **{"Accept-Encoding": accepted})
    assert (status, fields["Content-Encoding"], fields["ETag"]) == (200, "gzip", f'"{DIGEST}-gzip"')
    assert "Content-Length" not in fields
    assert gzip.decompress(body) == DATA
    assert len(body) < len(DATA) / 3


@pytest.mark.parametrize("accepted", ["identity", "br", "gzip;q=0", "*;q=0", "gzip;q=x", ""])
async def test_a_file_is_as_it_is_unless_compression_is_accepted(site: Site, accepted: str) -> None:
    _, path = listed(site)
    _, body, fields = await fetch(site, path, **{"Accept-Encoding": accepted})
    assert "Content-Encoding" not in fields
    assert body == DATA


async def test_a_part_is_of_the_bytes_that_the_manifest_counts_whatever_is_accepted(site: Site) -> None:
    _, path = listed(site)
    asked = {"Range": "bytes=3-6", "Accept-Encoding": "gzip"}
    status, body, fields = await fetch(site, path, **asked)
    assert (status, body) == (206, DATA[3:7])
    assert "Content-Encoding" not in fields


@pytest.mark.parametrize(
    ("held", "status"),
    [
        (f'"{DIGEST}"', 304),
        (f'W/"{DIGEST}"', 304),
        (f'"x", "{DIGEST}-gzip"', 304),
        ("*", 304),
        ('"x"', 200),
    ],
)
async def test_what_the_client_has_is_not_sent_again(site: Site, held: str, status: int) -> None:
    _, path = listed(site)
    found, body, fields = await fetch(site, path, **{"If-None-Match": held})
    assert (found, len(body)) == (status, 0 if status == 304 else len(DATA))
    assert fields["ETag"] == f'"{DIGEST}"'


TAG, CODED = f'"{DIGEST}"', f'"{DIGEST}-gzip"'


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("meant", "accepted", "tag"),
    [
        (TAG, "identity", TAG),
        (f'"x", {TAG}', "identity", TAG),
        # What was asked for is sent in the coding that the client means, if it takes that.
        (TAG, "gzip", TAG),
        (CODED, "gzip", CODED),
        (CODED, "identity", None),
        ('"x"', "gzip", None),
        (f"W/{TAG}", "identity", None),
        ("", "identity", None),
    ],
)
async def test_only_what_the_client_means_is_sent(
    site: Site, method: str, meant: str, accepted: str, tag: str | None
) -> None:
    _, path = listed(site)
    asked = {"If-Match": meant, "Accept-Encoding": accepted}
    status, body, fields = await fetch(site, path, method, **asked)
    if tag is None:
        assert (status, fields.get("ETag")) == (412, None)
        assert (b"OperationOutcome" in body) == (method == "GET")
    else:
        assert (status, fields["ETag"]) == (200, tag)
    # The connection is still in order afterwards.
    assert (await fetch(site, path, **{"If-Match": "*"}))[:2] == (200, DATA)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"If-Match": '"x"', "If-None-Match": TAG, "Range": "bytes=0-4"}, 412),
        ({"If-Match": '"x"', "Range": f"bytes={len(DATA)}-"}, 412),
        # Ranges are of the file as it is: whoever means the compressed one has not the beginning of that.
        ({"If-Match": CODED, "Range": "bytes=0-4", "Accept-Encoding": "gzip"}, 412),
        ({"If-Match": TAG, "If-None-Match": TAG, "Range": "bytes=0-4"}, 304),
        ({"If-None-Match": "*", "Range": f"bytes={len(DATA)}-"}, 304),
        ({"If-Match": TAG, "If-None-Match": '"x"', "Range": "bytes=0-4", "If-Range": TAG}, 206),
        ({"If-Match": TAG, "Range": "bytes=0-4", "If-Range": '"x"'}, 200),
        ({"If-Range": "Sat, 01 Jan 2050 00:00:00 GMT", "Range": "bytes=0-4"}, 200),
        ({"If-Match": TAG, "Range": f"bytes={len(DATA)}-"}, 416),
        # A file tells no time of its own, so nothing depends on one.
        ({"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}, 200),
        ({"If-Modified-Since": "Sat, 01 Jan 2050 00:00:00 GMT"}, 200),
    ],
)
async def test_conditions_are_asked_in_the_order_of_the_standard(
    site: Site, asked: dict[str, str], status: int
) -> None:
    _, path = listed(site)
    assert (await fetch(site, path, **asked))[0] == status


async def test_a_list_may_be_spread_over_several_fields(site: Site) -> None:
    _, path = listed(site)
    for name, status in (("If-Match", 200), ("If-None-Match", 304)):
        fields = [*headers(site).items(), (name, '"x"'), (name, TAG)]
        assert (await site.call("GET", path, headers=CIMultiDict(fields))).status == status


@pytest.mark.parametrize("asked", ["bytes=0-4", f"bytes={len(DATA)}-", "bytes=x"])
async def test_whoever_asks_about_a_file_asks_about_all_of_it(site: Site, asked: str) -> None:
    _, path = listed(site)
    status, _, fields = await fetch(site, path, "HEAD", Range=asked)
    assert (status, fields["Content-Length"]) == (200, str(len(DATA)))
    assert "Content-Range" not in fields


async def test_an_empty_file_is_sent_in_every_way(site: Site) -> None:
    _, path = listed(site, b"")
    for more in ({}, {"Accept-Encoding": "gzip"}):
        status, body, _ = await fetch(site, path, **more)
        assert (status, body) == (200, b"")
    assert (await fetch(site, path, Range="bytes=0-"))[0] == 416


@pytest.mark.parametrize(
    "name",
    [
        *("0.0.Patient", "0.0.Observation.ndjson", "0.1.Patient.ndjson", "1.0.Patient.ndjson", "x", "0.0."),
        *("-1.0.x", "00.0.Patient.ndjson", "9999999999.0.Patient.ndjson", "٣.0.Patient.ndjson"),
        "0.0.Patient.ndjson.x",
    ],
)
async def test_another_name_is_no_file(site: Site, name: str) -> None:
    job, _ = listed(site)
    status, body, _ = await fetch(site, f"/fhir/exports/{job}/files/{name}")
    assert status == 404
    assert b"The queried request is not available." in body


@pytest.mark.fuzz
@given(st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_whatever_a_name_is_it_gives_numbers_that_a_row_can_have(name: str) -> None:
    assert all(-1 <= number < 2**31 for number in _numbers(name))


async def test_a_file_whose_bytes_are_gone_is_not_there(site: Site) -> None:
    job, path = listed(site)
    (site.bulk.folder / f"{job}.0.0").unlink()
    for more in ({}, {"Accept-Encoding": "gzip"}):
        assert (await fetch(site, path, **more))[0] == 404


@pytest.mark.parametrize("accepted", ["identity", "gzip"])
async def test_a_file_that_is_shorter_than_its_row_says_ends_the_connection(
    site: Site, accepted: str
) -> None:
    site.bulk.encrypted = False
    job, path = listed(site)
    (site.bulk.folder / f"{job}.0.0").write_bytes(DATA[:1000])
    async with asyncio.timeout(60):
        with pytest.raises(aiohttp.ClientError):
            await fetch(site, path, **{"Accept-Encoding": accepted})


def alter(site: Site, job: str, at: int, cut: int | None = None) -> None:
    """Flip a bit of the file in the store, and cut it off."""
    path = site.bulk.folder / f"{job}.0.0"
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data[:cut])


@pytest.mark.parametrize("accepted", ["identity", "gzip"])
@pytest.mark.parametrize(("at", "cut"), [(100, None), (20, None), (3, None), (-1, HEAD + 8 * SEALED), (0, 0)])
async def test_a_file_that_is_damaged_where_it_begins_is_refused(
    sealed_site: Site, accepted: str, at: int, cut: int | None
) -> None:
    job, path = listed(sealed_site)
    alter(sealed_site, job, at, cut)
    status, body, _ = await fetch(sealed_site, path, **{"Accept-Encoding": accepted})
    assert status == 500
    assert b"The file is damaged." in body
    # And the connection is still in order.
    assert (await fetch(sealed_site, path, "HEAD"))[0] == 200


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_a_file_that_is_damaged_further_on_ends_the_connection_before_that(
    sealed_site: Site, coding: str
) -> None:
    job, path = listed(sealed_site)
    good = 40 * FRAME
    alter(sealed_site, job, HEAD + 40 * SEALED)
    answer = await sealed_site.get(path, headers=headers(sealed_site, **{"Accept-Encoding": coding}))
    got = bytearray()

    async def take() -> None:
        while piece := await answer.content.readany():
            got.extend(piece)

    with pytest.raises(aiohttp.ClientError):
        await take()
    assert len(got) <= good
    assert DATA.startswith(bytes(got))
    for asked, status in ((f"bytes={good - 9}-{good - 1}", 206), (f"bytes={good + 9}-{good + 99}", 500)):
        assert (await fetch(sealed_site, path, Range=asked))[0] == status


async def test_the_file_of_another_export_is_not_taken_for_this_ones(sealed_site: Site) -> None:
    job, path = listed(sealed_site)
    other = sealed_site.bulk.seal("another", DATA)
    (sealed_site.bulk.folder / other.key).replace(sealed_site.bulk.folder / f"{job}.0.0")
    assert (await fetch(sealed_site, path))[0] == 500


async def test_without_its_key_a_file_is_gone_and_without_the_master_key_not_here_now(
    sealed_site: Site,
) -> None:
    job, path = listed(sealed_site)
    ((place, row),) = sealed_site.bulk.exports.listed[job]
    _, unknown = MasterKeys([b"another" * 8]).make(data_key_name(job))
    for data_key, status in ((None, 404), (unknown, 503)):
        sealed_site.bulk.exports.listed[job] = [(place, replace(row, data_key=data_key))]
        assert (await fetch(sealed_site, path))[0] == status


async def test_a_download_goes_on_when_its_token_expires_and_its_export_is_deleted(site: Site) -> None:
    data = DATA * 10
    job, path = listed(site, data)
    answer = await site.get(path, headers=headers(site))
    read = await answer.content.readexactly(1000)
    assert site.bulk.holds.held == [job]
    site.now.at += 301
    assert (await site.get(path, headers=dict(answer.request_info.headers))).status == 401
    assert (await site.call("DELETE", f"/fhir/exports/{job}", headers=headers(site))).status == 202
    assert (await fetch(site, path))[0] == 404
    assert read + await answer.content.read() == data
    async with asyncio.timeout(120):
        while site.bulk.holds.held:  # noqa: ASYNC110 - the server notices after the client
            await asyncio.sleep(0.01)


async def test_a_client_that_goes_in_the_middle_holds_nothing(site: Site) -> None:
    _, path = listed(site, DATA * 10)
    for accepted in ("identity", "gzip"):
        answer = await site.get(path, headers=headers(site, **{"Accept-Encoding": accepted}))
        await answer.content.readexactly(1000)
        answer.close()
    async with asyncio.timeout(120):
        while site.bulk.holds.held:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    assert (await fetch(site, path))[0] == 200


async def test_a_client_that_takes_nothing_is_not_waited_for_without_end(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_IDLE_SECONDS", 0.1)
    _, path = listed(site, DATA * 10)
    assert site.client.port is not None
    reader, writer = await asyncio.open_connection(site.client.host, site.client.port, limit=1024)
    lines = [f"{name}: {value}" for name, value in headers(site).items()]
    writer.write("\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode())
    await writer.drain()
    async with asyncio.timeout(120):
        while not site.bulk.holds.held:  # noqa: ASYNC110 - the request is on its way
            await asyncio.sleep(0.01)
        while site.bulk.holds.held:  # noqa: ASYNC110 - nobody reads
            await asyncio.sleep(0.01)
    writer.close()
    del reader


async def test_many_downloads_at_once_are_each_whole(site: Site) -> None:
    _, path = listed(site)
    found = await asyncio.gather(*(fetch(site, path) for _ in range(40)))
    assert {zlib.crc32(body) for _, body, _ in found} == {zlib.crc32(DATA)}
