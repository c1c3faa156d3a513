"""The SDK against a service on loopback: what it sends, what it repeats, what it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from sluice_client import (
    ApiError,
    AuthenticationError,
    Credentials,
    ImportItem,
    JobAccepted,
    NotFoundError,
    Patience,
    SluiceClient,
    SluiceError,
    ThrottledError,
    UnreachableError,
    WaitTimeoutError,
)
from sluice_client.oauth import Authority, TokenKeeper
from sluice_client.transport import Transport, retry_after
from support.fake_sluice import FakeFile, FakeSluice, hang_up, json_answer

QUICK = Patience(attempts=4, first=0.001, longest=0.002)
REFERENCE = "https://fhir.example/r4/DocumentReference/"


@pytest.fixture
async def service() -> AsyncIterator[FakeSluice]:
    async with FakeSluice() as service:
        yield service


@pytest.fixture
async def client(service: FakeSluice) -> AsyncIterator[SluiceClient]:
    service.clients["portal"] = "secret"
    credentials = Credentials(client_id="portal", client_secret="secret")
    async with SluiceClient(service.url, credentials=credentials, patience=QUICK) as client:
        yield client


def problem(status: int, code: str, **headers: str) -> object:
    body = {"status": status, "code": code, "message": "No.", "more_info": "Do otherwise."}
    return json_answer(status, body, **headers)


async def test_signing_up_gives_credentials_that_are_used_at_once(service: FakeSluice) -> None:
    async with SluiceClient(service.url) as client:
        credentials = await client.sign_up("portal")
        assert credentials.client_secret == service.clients[credentials.client_id]
        assert await client.token() in service.tokens


async def test_the_apis_address_is_enough_to_find_its_authorization_server(service: FakeSluice) -> None:
    absent = json_answer(404, {"status": 404, "code": "not_found", "message": "No."})
    service.faults.append(("GET", "/.well-known/oauth-authorization-server", absent))
    async with SluiceClient(service.url) as client:
        await client.sign_up("portal")
        assert await client.token() in service.tokens


async def test_an_error_is_told_in_sentences() -> None:
    assert str(SluiceError("items[0].name: is too long", "Shorten it.")) == (
        "items[0].name: is too long. Shorten it."
    )
    assert str(SluiceError("It failed.", "Try again.")) == "It failed. Try again."
    assert str(SluiceError("It failed")) == "It failed"


async def test_where_sign_up_is_closed_it_says_what_to_do(service: FakeSluice) -> None:
    service.open_sign_up = False
    async with SluiceClient(service.url) as client:
        with pytest.raises(SluiceError, match="Ask the operators"):
            await client.sign_up("portal")


async def test_wrong_credentials_are_an_authentication_error(service: FakeSluice) -> None:
    credentials = Credentials(client_id="portal", client_secret="wrong")
    async with SluiceClient(service.url, credentials=credentials) as client:
        with pytest.raises(AuthenticationError, match="authentication failed"):
            await client.token()


async def test_without_credentials_a_call_says_so(service: FakeSluice) -> None:
    async with SluiceClient(service.url) as client:
        with pytest.raises(AuthenticationError, match="no credentials"):
            await client.sources()


async def test_many_calls_share_one_token(client: SluiceClient, service: FakeSluice) -> None:
    for _ in range(3):
        await client.sources()
    assert len(service.sent("POST", "/oauth/token")) == 1


async def test_a_token_is_renewed_before_its_end(service: FakeSluice) -> None:
    service.clients["portal"] = "secret"
    now = 0.0
    async with aiohttp.ClientSession() as session:
        authority = Authority(Transport(session, QUICK), service.url)
        keeper = TokenKeeper(
            authority, Credentials(client_id="portal", client_secret="secret"), clock=lambda: now
        )
        first = await keeper.get()
        now = 269.0
        assert await keeper.get() == first
        now = 271.0
        assert await keeper.get() != first


async def test_a_token_that_is_refused_is_replaced_once(client: SluiceClient, service: FakeSluice) -> None:
    await client.sources()
    service.tokens.clear()
    service.tokens.add("another")
    assert await client.sources() == []
    assert len(service.sent("POST", "/oauth/token")) == 2


async def test_a_thousand_references_go_out_a_hundred_at_a_time_each_with_a_key(
    client: SluiceClient, service: FakeSluice
) -> None:
    told: list[JobAccepted] = []
    references = [f"{REFERENCE}{n}" for n in range(250)]
    jobs = await client.import_documents(references, project="ann/p", tags=["t"], accepted=told.append)
    sent = service.sent("POST", "/v2/bulk/fhir")
    assert [len(body["items"]) for _, body in sent] == [100, 100, 50]
    assert len({headers["Idempotency-Key"] for headers, _ in sent}) == 3
    assert sent[2][1]["items"][49] == {"fhir_document_reference": f"{REFERENCE}249", "project": "ann/p"}
    assert told == jobs


@pytest.mark.parametrize("fault", [hang_up, json_answer(500, {}), json_answer(503, {}, Retry_After="0")])
async def test_a_submission_whose_answer_was_lost_is_repeated_under_its_key(
    client: SluiceClient, service: FakeSluice, fault: object
) -> None:
    service.faults.append(("POST", "/v2/bulk/fhir", fault))  # type: ignore[arg-type]
    await client.import_documents([f"{REFERENCE}1"], project="ann/p")
    keys = {headers["Idempotency-Key"] for headers, _ in service.sent("POST", "/v2/bulk/fhir")}
    assert len(keys) == 1
    assert len(service.jobs) == 1


async def test_the_same_key_gives_the_same_jobs(client: SluiceClient, service: FakeSluice) -> None:
    items = [ImportItem(fhir_document_reference=f"{REFERENCE}{n}", project="ann/p") for n in range(101)]
    first = await client.import_documents(items, key="nightly")
    assert await client.import_documents(items, key="nightly") == first
    assert len(service.jobs) == 2


async def test_what_may_not_be_repeated_is_not(client: SluiceClient, service: FakeSluice) -> None:
    service.faults.append(("POST", "/v2/projects", json_answer(502, {})))
    with pytest.raises(ApiError):
        await client.create_project("Heart")
    assert len(service.sent("POST", "/v2/projects")) == 1


async def test_what_the_service_says_it_did_not_do_is_repeated(
    client: SluiceClient, service: FakeSluice
) -> None:
    service.faults.append(("POST", "/v2/projects", json_answer(503, {}, Retry_After="0")))
    assert (await client.create_project("Heart")).id == "ann/heart"


async def test_a_quota_is_waited_for_as_long_as_the_service_asks(service: FakeSluice) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    service.faults.append(("GET", "/v2", json_answer(429, {}, Retry_After="7")))
    async with aiohttp.ClientSession() as session:
        transport = Transport(session, QUICK, sleep=sleep)
        with pytest.raises(AuthenticationError):
            await transport.send("GET", f"{service.url}/v2/projects")
    assert waited == [7.0]


async def test_a_wait_longer_than_there_is_patience_for_is_an_error(
    client: SluiceClient, service: FakeSluice
) -> None:
    service.faults.append(("GET", "/v2/fhir/sources", json_answer(429, {}, Retry_After="3600")))
    with pytest.raises(ThrottledError) as caught:
        await client.sources()
    assert caught.value.after == 3600


async def test_attempts_are_counted(client: SluiceClient, service: FakeSluice) -> None:
    service.faults += [("GET", "/v2/fhir/sources", hang_up)] * 9
    with pytest.raises(UnreachableError):
        await client.sources()
    # aiohttp itself sends once more what met a connection that was kept too long.
    assert QUICK.attempts <= len(service.sent("GET", "/v2/fhir/sources")) <= 2 * QUICK.attempts


async def test_a_service_that_is_not_there_is_unreachable_and_its_query_is_not_told() -> None:
    credentials = Credentials(client_id="a", client_secret="b")
    async with SluiceClient("http://127.0.0.1:9", credentials=credentials, patience=QUICK) as client:
        with pytest.raises(UnreachableError, match="cannot be reached") as caught:
            await client.sources()
    assert "?" not in str(caught.value)


async def test_a_refusal_carries_the_services_words(client: SluiceClient, service: FakeSluice) -> None:
    service.faults.append(("GET", "/v2/projects/", problem(404, "not_found")))  # type: ignore[arg-type]
    with pytest.raises(NotFoundError) as caught:
        await client.project("ann/none")
    assert (caught.value.code, caught.value.message, caught.value.advice) == (
        "not_found",
        "No.",
        "Do otherwise.",
    )


async def test_what_an_outcome_says_is_all_that_is_said(client: SluiceClient, service: FakeSluice) -> None:
    text = "You have no access to any patient's data. Ask the operators."
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [{"code": "forbidden", "details": {"text": text}}],
    }
    service.faults.append(("GET", "/v2/projects/", json_answer(403, outcome)))
    with pytest.raises(AuthenticationError) as caught:
        await client.project("ann/none")
    assert str(caught.value) == text


async def test_waiting_ends_when_all_jobs_have_finished(client: SluiceClient, service: FakeSluice) -> None:
    jobs = await client.import_documents([f"{REFERENCE}{n}" for n in range(150)], project="ann/p")
    finished = await client.wait_all([job.id for job in jobs])
    assert [job.counts.attached for job in finished] == [100, 50]


async def test_waiting_stops_at_its_timeout_and_the_job_goes_on() -> None:
    async with FakeSluice(polls=10**9) as service:
        service.clients["portal"] = "secret"
        credentials = Credentials(client_id="portal", client_secret="secret")
        async with SluiceClient(service.url, credentials=credentials, patience=QUICK) as client:
            (job,) = await client.import_documents([f"{REFERENCE}1"], project="ann/p")
            with pytest.raises(WaitTimeoutError):
                await client.wait(job.id, timeout=0.05)
            assert not service.jobs[job.id]["cancelled"]


async def test_results_come_page_by_page_in_order(client: SluiceClient, service: FakeSluice) -> None:
    items = [{"fhir_document_reference": f"{REFERENCE}{n}"} for n in range(230)]
    service.jobs["one"] = {"items": items, "polls": 0, "cancelled": False}
    assert [result.item async for result in client.results("one")] == list(range(230))


async def test_a_cancelled_job_is_told_as_cancelled(client: SluiceClient) -> None:
    (job,) = await client.import_documents([f"{REFERENCE}1"], project="ann/p")
    assert (await client.cancel(job.id)).outcome == "cancelled"


async def test_lists_go_on_over_pages(client: SluiceClient, service: FakeSluice) -> None:
    for number in range(205):
        service.files[f"{number:024x}"] = FakeFile(f"{number:024x}", f"{number}.pdf", "ann/p")
    assert [it.name async for it in client.files(project="ann/p")] == [f"{n}.pdf" for n in range(205)]


async def test_sources_are_added_listed_and_removed(client: SluiceClient) -> None:
    source = await client.add_source("Ward", "https://fhir.example", auth={"type": "bearer", "token": "x"})
    assert [it.id for it in await client.sources()] == [source.id]
    await client.remove_source(source.id)
    assert await client.sources() == []


async def test_a_closed_client_says_how_to_use_it() -> None:
    with pytest.raises(SluiceError, match="async with"):
        await SluiceClient("http://127.0.0.1:9").sources()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12", 12.0), ("", None), ("soon", None), ("-3", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": text}) == seconds
