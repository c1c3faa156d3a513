"""Exports with the SDK against a service on loopback: what is asked, followed, downloaded and checked."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sluice_client import (
    ApiError,
    AuthenticationError,
    Credentials,
    DownloadError,
    ExportFile,
    ExportFolderError,
    ExportProgress,
    ExportRequest,
    NotFoundError,
    Patience,
    SluiceClient,
    SluiceError,
    UnreachableError,
    WaitTimeoutError,
)
from sluice_client.export_folder import STATE, ExportFolder, read_state
from support.fake_exports import ndjson
from support.fake_sluice import FakeSluice, json_answer

QUICK = Patience(attempts=4, first=0.001, longest=0.002)
PATIENTS = ExportRequest(types=("Patient",))


@pytest.fixture
async def service() -> AsyncIterator[FakeSluice]:
    async with FakeSluice() as service:
        service.clients["portal"] = "secret"
        yield service


@pytest.fixture
async def client(service: FakeSluice) -> AsyncIterator[SluiceClient]:
    credentials = Credentials(client_id="portal", client_secret="secret")
    async with SluiceClient(service.url, credentials=credentials, patience=QUICK) as client:
        yield client


class Told(ExportProgress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []

    def started(self, location: str) -> None:
        self.events.append(("started", location))

    def running(self, said: str, percent: float | None) -> None:
        self.events.append(("running", (said, percent)))

    def listed(self, file: ExportFile, name: str, have: int) -> None:
        self.events.append(("listed", name))

    def received(self, file: ExportFile, have: int) -> None:
        self.events.append(("received", have))

    def finished(self, file: ExportFile) -> None:
        self.events.append(("finished", file.type))


async def test_an_export_is_followed_downloaded_checked_and_deleted(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    told = Told()
    service.exports.files["Condition"] = ndjson("Condition", 50_000)
    done = await client.export(tmp_path / "out", PATIENTS, progress=told)
    assert (done.complete, done.deleted, done.location) == (True, True, None)
    assert done.transaction_time == datetime(2026, 1, 31, 12, tzinfo=UTC)
    for type_, content in service.exports.files.items():
        assert (tmp_path / "out" / f"{type_}.0001.ndjson").read_bytes() == content
    assert service.exports.exports[0].deleted
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [(file["name"], file["count"]) for file in manifest["files"]] == [
        ("Condition.0001.ndjson", 50_000),
        ("Patient.0001.ndjson", 3),
    ]
    assert [event for event in told.events if event[0] == "running"][:2] == [
        ("running", ("scheduled", None)),
        ("running", ("started 40%", 40.0)),
    ]
    assert {name for kind, name in told.events if kind == "finished"} == {"Patient", "Condition"}
    assert not list((tmp_path / "out").glob(".*.part"))


async def test_without_waiting_it_is_only_started_and_a_second_call_takes_it_up(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    started = await client.export(tmp_path, PATIENTS, wait=False)
    assert (started.complete, started.location) == (False, f"{service.url}/fhir/exports/0")
    again = await client.export(tmp_path, PATIENTS, wait=False)
    assert again == started
    done = await client.export(tmp_path)
    assert done.complete
    assert len(service.exports.exports) == 1


async def test_a_finished_folder_is_left_as_it_is(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    first = await client.export(tmp_path, PATIENTS)
    assert await client.export(tmp_path, PATIENTS) == first
    assert (len(service.exports.exports), len(service.exports.downloads)) == (1, 1)


async def test_kept_exports_are_deleted_by_a_later_call(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    kept = await client.export(tmp_path, PATIENTS, keep=True)
    assert kept.location is not None
    assert not service.exports.exports[0].deleted
    assert (await client.export(tmp_path)).deleted
    assert service.exports.exports[0].deleted


async def test_another_request_in_the_same_folder_is_an_error_and_starts_nothing(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    await client.export(tmp_path, PATIENTS, wait=False)
    with pytest.raises(ExportFolderError, match="another request"):
        await client.export(tmp_path, ExportRequest(types=("Condition",)))
    assert len(service.exports.exports) == 1


async def test_the_order_of_types_makes_no_other_request(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    await client.export(tmp_path, ExportRequest(types=("Patient", "Condition")), wait=False)
    await client.export(tmp_path, ExportRequest(types=("Condition", "Patient", "Patient")), wait=False)
    assert len(service.exports.exports) == 1


async def test_an_empty_folder_has_nothing_to_resume(client: SluiceClient, tmp_path: Path) -> None:
    with pytest.raises(ExportFolderError, match="no export"):
        await client.export(tmp_path)
    with pytest.raises(ExportFolderError, match="no export"):
        await client.export(tmp_path / "misspelt")
    assert not (tmp_path / "misspelt").exists()


async def test_beginning_anew_deletes_what_was_begun(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    await client.export(tmp_path, PATIENTS, keep=True)
    await client.export(tmp_path, ExportRequest(types=("Condition",)), restart=True, wait=False)
    assert [export.deleted for export in service.exports.exports] == [True, False]
    assert not (tmp_path / "Patient.0001.ndjson").exists()


async def test_one_process_at_a_time_uses_a_folder(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    service.exports.hold_files = asyncio.Event()
    first = asyncio.create_task(client.export(tmp_path, PATIENTS))
    await service.exports.downloading.wait()
    with pytest.raises(ExportFolderError, match="Another process"):
        await client.export(tmp_path, PATIENTS)
    service.exports.hold_files.set()
    assert (await first).complete


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_broken_download_goes_on_where_it_broke_off(
    client: SluiceClient, service: FakeSluice, tmp_path: Path, compressed: bool
) -> None:
    # Random ids, so that a part of what is compressed is a part of what it holds.
    service.exports.files["Patient"] = b"".join(
        b'{"resourceType":"Patient","id":"%s"}\n' % os.urandom(16).hex().encode() for _ in range(60_000)
    )
    service.exports.break_after["Patient"] = 1_000_000
    await client.export(tmp_path, PATIENTS, gzip=compressed)
    assert (tmp_path / "Patient.0001.ndjson").read_bytes() == service.exports.files["Patient"]
    first, second = (headers for _, headers in service.exports.downloads)
    assert first["Accept-Encoding"] == ("gzip" if compressed else "identity")
    assert second["Accept-Encoding"] == "identity"
    assert int(second["Range"].removeprefix("bytes=").removesuffix("-")) > 0


async def test_an_interrupted_call_leaves_what_it_has_and_the_next_goes_on(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    service.exports.files = {"Patient": ndjson("Patient", 3), "Condition": ndjson("Condition", 100_000)}
    held = asyncio.Event()
    arrived = asyncio.Event()

    class Stop(ExportProgress):
        def received(self, file: ExportFile, have: int) -> None:
            if file.type == "Condition":
                arrived.set()

    task = asyncio.create_task(client.export(tmp_path, PATIENTS, progress=Stop()))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    held.set()
    state = read_state(tmp_path)
    assert state is not None
    assert not state.deleted
    assert (await client.export(tmp_path, PATIENTS)).complete
    assert (tmp_path / "Condition.0001.ndjson").read_bytes() == service.exports.files["Condition"]
    assert len(service.exports.exports) == 1


async def test_an_interrupted_start_waits_for_the_answer_so_that_the_export_is_not_lost(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    service.exports.hold_answer = asyncio.Event()
    task = asyncio.create_task(client.export(tmp_path, PATIENTS))
    await service.exports.asked.wait()
    task.cancel()
    await asyncio.sleep(0.05)
    service.exports.hold_answer.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    service.exports.hold_answer = None
    assert (await client.export(tmp_path, PATIENTS)).complete
    assert len(service.exports.exports) == 1


async def test_a_start_whose_answer_was_lost_is_repeated_without_a_second_export(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    service.exports.lose_answers = 2 * QUICK.attempts
    with pytest.raises(UnreachableError):
        await client.export(tmp_path, PATIENTS)
    service.exports.lose_answers = 0
    assert (await client.export(tmp_path, PATIENTS)).complete
    assert len(service.exports.exports) == 1


async def test_a_start_that_broke_off_long_ago_is_not_repeated_by_itself(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    with ExportFolder(tmp_path) as folder:
        folder.begin(service.url, PATIENTS).started = datetime(2026, 1, 1, tzinfo=UTC)
        folder.save()
    with pytest.raises(ExportFolderError, match="may run there or not"):
        await client.export(tmp_path, PATIENTS)
    assert service.exports.exports == []
    assert (await client.export(tmp_path, PATIENTS, restart=True)).complete


async def test_a_refused_start_leaves_nothing_behind(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    issue = {"severity": "error", "code": "value", "diagnostics": "_type: Nonsense is no type here."}
    body = {"resourceType": "OperationOutcome", "issue": [issue]}
    service.faults.append(("GET", "/fhir/$export", json_answer(400, body)))
    with pytest.raises(ApiError, match="Nonsense is no type here") as refused:
        await client.export(tmp_path, ExportRequest(types=("Nonsense",)))
    assert (refused.value.status, refused.value.code) == (400, "value")
    assert not (tmp_path / STATE).exists()
    assert (await client.export(tmp_path, PATIENTS)).complete


async def test_a_client_that_is_not_let_in_has_begun_nothing(service: FakeSluice, tmp_path: Path) -> None:
    credentials = Credentials(client_id="portal", client_secret="wrong")
    async with SluiceClient(service.url, credentials=credentials, patience=QUICK) as client:
        with pytest.raises(AuthenticationError):
            await client.export(tmp_path, PATIENTS)
    assert not (tmp_path / STATE).exists()


async def test_a_duplicate_says_where_the_export_is_that_exists(
    client: SluiceClient, service: FakeSluice
) -> None:
    location = f"{service.url}/fhir/exports/7"
    body = {"resourceType": "OperationOutcome", "issue": [{"code": "duplicate"}]}
    service.faults.append(("GET", "/fhir/$export", json_answer(409, body, Content_Location=location)))
    with pytest.raises(ApiError) as refused:
        await client.start_export(PATIENTS)
    assert (refused.value.status, refused.value.location) == (409, location)


async def test_a_file_that_is_not_what_the_manifest_says_is_not_kept(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    service.exports.wrong.add("Patient")
    with pytest.raises(DownloadError, match="not what the manifest says"):
        await client.export(tmp_path, PATIENTS)
    assert not (tmp_path / "Patient.0001.ndjson").exists()
    assert not service.exports.exports[0].deleted
    service.exports.wrong.clear()
    # The manifest of an export never changes, so only another export can mend it.
    assert (await client.export(tmp_path, PATIENTS, restart=True)).complete


async def test_a_server_that_says_nothing_of_its_files_is_believed_and_never_resumed(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    service.exports.extended = False
    service.exports.files["Patient"] = ndjson("Patient", 100_000)
    service.exports.break_after["Patient"] = 2_000_000
    done = await client.export(tmp_path, PATIENTS)
    assert (tmp_path / "Patient.0001.ndjson").read_bytes() == service.exports.files["Patient"]
    assert done.files["Patient.0001.ndjson"].sha256 is None
    assert all("Range" not in headers for _, headers in service.exports.downloads)


async def test_a_token_that_is_revoked_during_downloads_is_renewed(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    class Revoke(ExportProgress):
        def listed(self, file: ExportFile, name: str, have: int) -> None:
            service.tokens.clear()

    assert (await client.export(tmp_path, PATIENTS, progress=Revoke())).complete


async def test_every_page_of_a_manifest_is_read(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    service.exports.pages = True
    service.exports.files = {name: ndjson(name, 2) for name in ("Patient", "Condition", "Encounter")}
    done = await client.export(tmp_path, ExportRequest(allow_partial_manifests=True))
    assert len(done.files) == 3
    location = await client.start_export(ExportRequest(allow_partial_manifests=True))
    assert len((await client.wait_for_export(location)).files) == 3


async def test_a_token_is_never_sent_to_another_server(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    async with FakeSluice() as other:
        service.exports.elsewhere = other.url
        with pytest.raises(SluiceError, match="not its own"):
            await client.export(tmp_path, PATIENTS)
        assert other.requests == []
        # Where the manifest says that files need no token, they get none.
        service.exports.requires_token = other.exports.requires_token = False
        other.exports.exports.extend([replace(service.exports.exports[0])] * 2)
        assert (await client.export(tmp_path, PATIENTS, restart=True)).complete
        assert all("Authorization" not in headers for _, headers in other.exports.downloads)


async def test_an_export_that_is_gone_is_said_with_what_to_do(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    await client.export(tmp_path, PATIENTS, wait=False)
    service.exports.exports[0].deleted = True
    with pytest.raises(NotFoundError, match=r"expired, or was deleted.*--restart"):
        await client.export(tmp_path)


async def test_a_failed_export_is_told_in_the_services_words(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    body = {"resourceType": "OperationOutcome", "issue": [{"code": "exception", "diagnostics": "It failed."}]}
    for _ in range(QUICK.attempts):
        service.faults.append(("GET", "/fhir/exports/0", json_answer(500, body)))
    with pytest.raises(ApiError, match="It failed") as failed:
        await client.export(tmp_path, PATIENTS)
    assert failed.value.status == 500


async def test_waiting_may_have_an_end(client: SluiceClient, service: FakeSluice) -> None:
    service.exports.told = ("started 1%",) * 1000
    service.exports.retry_after = "1"
    location = await client.start_export(PATIENTS)
    with pytest.raises(WaitTimeoutError):
        await client.wait_for_export(location, timeout=0.05)
    await client.delete_export(location)
    with pytest.raises(NotFoundError):
        await client.export_status(location)


def test_what_a_server_calls_a_type_never_leads_out_of_the_folder(tmp_path: Path) -> None:
    with ExportFolder(tmp_path) as folder:
        folder.begin("https://sluice.example", PATIENTS)
        types = ("../../x", "Patient", "..", None, "a/b", "Patient")
        kept = folder.add(ExportFile(url=f"{n}", type=type_) for n, type_ in enumerate(types))
    names = [each.name for each in kept]
    assert all(re.fullmatch(r"(resources|Patient)\.\d{4}\.ndjson", name) for name in names)
    assert len(set(names)) == len(names)
