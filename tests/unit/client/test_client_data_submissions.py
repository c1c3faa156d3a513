"""Data for measures with the SDK: what is taken of files, and how it is sent."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sluice_client import Credentials, DataFileError, SluiceClient, SluiceError
from sluice_client.data_submissions import report_of, resources_of
from support.fake_sluice import FakeSluice

REPORT = b'{"resourceType": "MeasureReport", "type": "data-collection"}'
PATIENT = b'{"resourceType":"Patient","id":"p","multipleBirthInteger":1}'
URL = "https://fhir.example/r4/$export"


@pytest.fixture
async def service() -> AsyncIterator[FakeSluice]:
    async with FakeSluice() as service:
        service.clients["portal"] = "secret"
        yield service


@pytest.fixture
async def client(service: FakeSluice) -> AsyncIterator[SluiceClient]:
    credentials = Credentials(client_id="portal", client_secret="secret")
    async with SluiceClient(service.url, credentials=credentials) as client:
        yield client


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (PATIENT, 1),
        (json.dumps(json.loads(PATIENT), indent=2).encode(), 1),
        (PATIENT + b"\r\n\n" + PATIENT, 2),
        (b'{"resourceType":"Bundle","entry":[{"resource":%b},{},{"resource":%b}]}' % (PATIENT, PATIENT), 2),
        (b'{"resourceType":"Bundle","entry":[{"resource":%b}]}\n%b\n' % (PATIENT, PATIENT), 2),
    ],
)
def test_resources_come_alone_in_bundles_and_in_lines(content: bytes, count: int, tmp_path: Path) -> None:
    packed = tmp_path / "a.ndjson.gz"
    packed.write_bytes(gzip.compress(content))
    for source in (content, packed):
        found = [json.loads(bytes(each)) for each in resources_of(source)]
        assert found == [json.loads(PATIENT)] * count


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"hello", b"[]", b"7", b"{}", b'{"resourceType":7}', b'{"resourceType":"Bundle"}'),
        *(PATIENT + b"\nnothing", b'{"resourceType":"Patient","x":"\xff"}', b"[" * 100_000),
        b'{"resourceType":"Bundle","entry":[{"resource":{}}]}',
        b'{"resourceType":"Bundle","entry":7}',
    ],
)
def test_a_file_without_resources_is_refused_before_anything_is_sent(content: bytes) -> None:
    with pytest.raises(DataFileError):
        resources_of(content)
    with pytest.raises(DataFileError):
        report_of(content)


def test_a_report_is_a_measure_report_in_a_file_that_is_there(tmp_path: Path) -> None:
    assert bytes(report_of(REPORT)) == REPORT
    for source in (PATIENT, tmp_path / "none.json"):
        with pytest.raises(DataFileError):
            report_of(source)


async def test_report_and_resources_are_sent_as_they_were_written(
    client: SluiceClient, service: FakeSluice
) -> None:
    stored = await client.submit_data("m/1", REPORT, [PATIENT, PATIENT + b"\n" + PATIENT])
    assert [(each.type, each.id, each.created) for each in stored] == [
        ("MeasureReport", "made", True),
        *[("Patient", "p", True)] * 3,
    ]
    ((headers, body),) = service.sent("POST", "/fhir/Measure/m/1/$submit-data")
    assert "Prefer" not in headers
    assert [each["name"] for each in body["parameter"]] == ["measureReport", *["resource"] * 3]


async def test_a_measure_may_be_named_by_the_report_alone(client: SluiceClient, service: FakeSluice) -> None:
    await client.submit_data(None, REPORT)
    assert await client.start_submit_data(None, REPORT, URL) == "0"
    assert len(service.sent("POST", "/fhir/Measure/$submit-data")) == 2


async def test_data_are_pulled_by_the_same_operation_and_followed_as_any_import(
    client: SluiceClient, service: FakeSluice
) -> None:
    since = datetime(2026, 1, 31, tzinfo=UTC)
    job = await client.start_submit_data("m", REPORT, URL, since=since, key="night")
    assert job == await client.start_submit_data("m", REPORT, URL, since=since, key="night")
    (begun,) = service.pulls.pulls
    assert (begun.path, begun.prefer) == ("/fhir/Measure/m/$submit-data", "respond-async")
    assert [each["name"] for each in begun.body["parameter"]] == ["measureReport", "exportUrl", "_since"]
    assert (await client.wait_for_pull(job)).errors == 0


async def test_data_that_are_pulled_may_be_wanted_whole(client: SluiceClient, service: FakeSluice) -> None:
    await client.start_submit_data("m", REPORT, URL, strict=True)
    (begun,) = service.pulls.pulls
    assert begun.body["parameter"][-1] == {"name": "_strict", "valueBoolean": True}


async def test_a_manifest_has_no_since(client: SluiceClient, service: FakeSluice) -> None:
    since = datetime(2026, 1, 31, tzinfo=UTC)
    with pytest.raises(SluiceError):
        await client.start_submit_data("m", REPORT, URL, since=since, static=True)
    assert service.pulls.pulls == []
