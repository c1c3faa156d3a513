"""The SDK without asyncio: every call waits for its result, and takes what its namesake takes."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import sluice_client
from sluice_client import Credentials, ExportRequest, NotFoundError, SluiceError
from sluice_client.sync import SluiceClient
from support.fake_sluice import FakeFile, FakeSluice

CALLS = sorted(
    name for name in dir(SluiceClient) if not name.startswith("_") and name not in ("run", "gathered")
)


@pytest.fixture
def service() -> Iterator[FakeSluice]:
    """Give a service in a loop and a thread of its own, since this one's has none."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    fake = FakeSluice()
    asyncio.run_coroutine_threadsafe(fake.__aenter__(), loop).result()
    fake.clients["portal"] = "secret"
    try:
        yield fake
    finally:
        asyncio.run_coroutine_threadsafe(fake.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def client(service: FakeSluice) -> Iterator[SluiceClient]:
    credentials = Credentials(client_id="portal", client_secret="secret")
    with SluiceClient(service.url, credentials=credentials) as client:
        yield client


def test_documents_are_imported_and_files_downloaded(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    project = client.create_project("Heart study")
    jobs = client.import_documents(["https://fhir.example/r4/DocumentReference/1"], project=project.id)
    (job,) = client.wait_all([job.id for job in jobs])
    assert job.counts.attached == 1
    assert [result.state for result in client.results(job.id)] == ["ATTACHED"]
    assert [each.id for each in client.jobs()] == [job.id]
    service.files["1" * 24] = FakeFile("1" * 24, "a.txt", project.id, b"content")
    (file,) = client.files(project=project.id)
    assert client.download(file.id, tmp_path / file.name).size == len(b"content")


def test_an_export_comes_with_one_call_or_step_by_step(
    client: SluiceClient, service: FakeSluice, tmp_path: Path
) -> None:
    assert client.export(tmp_path, ExportRequest(types=("Patient",))).complete
    location = client.start_export(ExportRequest())
    assert client.wait_for_export(location).files[0].type == "Patient"
    client.delete_export(location)
    with pytest.raises(NotFoundError):
        client.export_status(location)


def test_what_is_not_named_is_reached_all_the_same(client: SluiceClient) -> None:
    assert client.run(lambda it: it.sources()) == []


def test_outside_of_with_it_says_how_it_is_used(service: FakeSluice) -> None:
    with pytest.raises(SluiceError, match="Use it in `with`"):
        SluiceClient(service.url).token()


@pytest.mark.parametrize("name", CALLS)
def test_every_call_takes_what_its_namesake_takes(name: str) -> None:
    ours = inspect.signature(getattr(SluiceClient, name))
    namesake = inspect.signature(getattr(sluice_client.SluiceClient, name))
    if name != "files":
        assert ours.parameters == namesake.parameters
