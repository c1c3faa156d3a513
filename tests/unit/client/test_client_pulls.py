"""Bulk imports with the SDK against a service on loopback: what is asked, followed and told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from sluice_client import (
    ApiError,
    Credentials,
    NotFoundError,
    Patience,
    Pulled,
    PullOutcome,
    PullRequest,
    PullStatus,
    SluiceClient,
    SluiceError,
    UnreachableError,
    WaitTimeoutError,
)
from support.fake_pulls import outcome
from support.fake_sluice import FakeSluice, hang_up, json_answer

QUICK = Patience(attempts=4, first=0.001, longest=0.002)
URL = "https://fhir.example/r4/$export"
REQUEST = PullRequest(export_url=URL)


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


async def test_everything_is_asked_for_as_parameters(client: SluiceClient, service: FakeSluice) -> None:
    since = datetime(2026, 1, 31, 12, tzinfo=UTC)
    request = PullRequest(
        export_url=URL,
        types=("Patient", "Observation"),
        since=since,
        type_filters=("Observation?status=final",),
        elements=("id",),
    )
    assert await client.start_pull(request) == "0"
    await client.start_pull(PullRequest(export_url=URL, static=True))
    first, second = service.pulls.pulls
    assert (first.path, first.prefer) == ("/fhir/$import", "respond-async")
    assert first.body["parameter"] == [
        {"name": "exportUrl", "valueUrl": URL},
        {"name": "_since", "valueInstant": "2026-01-31T12:00:00Z"},
        {"name": "_type", "valueString": "Patient"},
        {"name": "_type", "valueString": "Observation"},
        {"name": "_elements", "valueString": "id"},
        {"name": "_typeFilter", "valueString": "Observation?status=final"},
    ]
    assert second.body["parameter"][1:] == [{"name": "exportType", "valueCode": "static"}]


@pytest.mark.parametrize(
    "request_",
    [
        PullRequest(export_url=URL, static=True, types=("Patient",)),
        PullRequest(export_url=URL, static=True, since=datetime(2026, 1, 1, tzinfo=UTC)),
        PullRequest(export_url=URL, since=datetime(2026, 1, 1)),  # noqa: DTZ001
    ],
)
async def test_what_makes_no_sense_is_not_asked(
    client: SluiceClient, service: FakeSluice, request_: PullRequest
) -> None:
    with pytest.raises(SluiceError):
        await client.start_pull(request_)
    assert service.pulls.pulls == []


@pytest.mark.parametrize("relative", [False, True])
async def test_an_import_is_followed_to_its_end_and_told_file_by_file(
    client: SluiceClient, service: FakeSluice, relative: bool
) -> None:
    service.pulls.relative = relative
    service.pulls.errors = [
        outcome("error", "line 2"),
        outcome("warning", "count"),
        outcome("error", "line 3"),
    ]
    told: list[PullStatus] = []
    done = await client.pull(REQUEST, on_status=told.append, problems=2)
    assert [(each.exporting, each.percent) for each in told] == [
        (True, None),
        (True, 45),
        (False, 40),
        (False, 100),
    ]
    assert [each.text for each in done.outcomes] == ["Patient file 1: 3 lines read.", "1 file"]
    assert [each.text for each in done.problems] == ["line 2", "count"]
    assert (done.errors, done.warnings) == (2, 1)
    assert done.transaction_time == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert done.source_time == datetime(2026, 1, 31, 11, tzinfo=UTC)


async def test_the_same_key_is_the_same_import_and_none_is_another(
    client: SluiceClient, service: FakeSluice
) -> None:
    assert await client.start_pull(REQUEST, key="night") == await client.start_pull(REQUEST, key="night")
    assert await client.start_pull(REQUEST) != await client.start_pull(REQUEST)


async def test_a_kick_off_whose_answer_was_lost_is_not_repeated_as_another(
    client: SluiceClient, service: FakeSluice
) -> None:
    service.faults.append(("POST", "/fhir/$import", hang_up))
    await client.start_pull(REQUEST)
    keys = {headers["Idempotency-Key"] for headers, _ in service.sent("POST", "/fhir/$import")}
    assert (len(keys), len(service.pulls.pulls)) == (1, 1)


async def test_problems_that_break_off_are_read_on_without_one_twice(
    client: SluiceClient, service: FakeSluice
) -> None:
    service.pulls.errors = [outcome("error", f"line {n}") for n in range(50)]
    service.pulls.break_after = 3000
    job = await client.start_pull(REQUEST)
    await client.wait_for_pull(job)
    service.pulls.break_after = 3000
    found = [each async for each in client.pull_outcomes(job, errors=True)]
    assert found == [PullOutcome(severity="error", code="informational", text=f"line {n}") for n in range(50)]


async def test_problems_that_never_come_whole_are_an_error(client: SluiceClient, service: FakeSluice) -> None:
    service.pulls.errors = [outcome("error", "line 1")]
    job = await client.start_pull(REQUEST)
    service.faults += [("GET", f"/fhir/{job}/errors", hang_up)] * 2 * QUICK.attempts
    with pytest.raises(UnreachableError):
        await client.wait_for_pull(job)


async def test_a_token_that_ends_on_the_way_is_renewed(client: SluiceClient, service: FakeSluice) -> None:
    job = await client.start_pull(REQUEST)
    refusal = json_answer(401, outcome("error", "The token is not valid.", "login"))
    service.faults += [("GET", "/fhir/bulkstatus", refusal), ("GET", f"/fhir/{job}/info", refusal)]
    assert isinstance(await client.wait_for_pull(job), Pulled)
    assert service.issued == 3


async def test_an_import_that_failed_as_a_whole_says_why(client: SluiceClient, service: FakeSluice) -> None:
    service.pulls.failed = "The import has failed: the source did not answer."
    with pytest.raises(ApiError, match="the source did not answer") as raised:
        await client.pull(REQUEST)
    assert raised.value.status == 500


async def test_a_cancelled_import_is_there_for_nobody(client: SluiceClient, service: FakeSluice) -> None:
    job = await client.start_pull(REQUEST)
    await client.cancel_pull(job)
    assert service.pulls.pulls[0].deleted
    for call in (client.pull_status, client.wait_for_pull, client.cancel_pull):
        with pytest.raises(NotFoundError):
            await call(job)


async def test_waiting_ends_in_time_and_the_import_goes_on(client: SluiceClient, service: FakeSluice) -> None:
    service.pulls.hold_end = asyncio.Event()
    with pytest.raises(WaitTimeoutError, match="It goes on"):
        await client.pull(REQUEST, timeout=0.2)
    assert not service.pulls.pulls[0].deleted
    with pytest.raises(SluiceError, match="has not ended"):
        _ = [each async for each in client.pull_outcomes("0")]


@pytest.mark.parametrize("status", [200, 202])
async def test_an_answer_without_a_place_is_an_error(
    client: SluiceClient, service: FakeSluice, status: int
) -> None:
    service.faults.append(("POST", "/fhir/$import", json_answer(status, {})))
    with pytest.raises(SluiceError, match="does not say where"):
        await client.start_pull(REQUEST)


async def test_outcomes_at_another_server_are_not_asked_for(
    client: SluiceClient, service: FakeSluice
) -> None:
    job = await client.start_pull(REQUEST)
    elsewhere = {
        "transactionTime": "2026-01-31T12:00:00Z",
        "output": [{"url": "https://elsewhere.example/info_file_1.ndjson"}],
        "error": [],
    }
    service.faults.append(("GET", "/fhir/bulkstatus", json_answer(200, elsewhere)))
    with pytest.raises(SluiceError, match="not its own"):
        await client.wait_for_pull(job)
