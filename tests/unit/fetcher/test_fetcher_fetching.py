"""Each document is fetched once, and its item goes on, waits or ends with the reason."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sluice_contracts import wire
from sluice_contracts.commands import FetchDocuments, ScrapeDocuments
from sluice_contracts.errors import ItemError
from sluice_contracts.events import (
    DocumentFetched,
    DocumentsFetched,
    Fetched,
    ItemCancelled,
    ItemFailed,
    ItemRetrying,
    Stage,
)
from sluice_contracts.ids import item_key
from sluice_contracts.topics import DOCUMENT_FETCH, DOCUMENT_SCRAPE, JOBS_EVENTS
from sluice_fetcher.fetching import Fetching
from sluice_fhir.sources import Source
from sluice_security.failure import SourceFailure
from sluice_security.http_budget import MemoryBudget
from sluice_streaming.memory import MemoryRecord
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.outcomes import Failure, Partly, Reject, Retry, Unavailable
from support.fetcher_memory import JOB, NOW, MemoryDocuments, MemorySources, ScriptedReader, start

REFERENCE = "https://h.example/DocumentReference/{}"
BODY = b'{"resourceType":"DocumentReference","id":"0"}'


class Setting:
    def __init__(self) -> None:
        self.documents = MemoryDocuments()
        self.sources = MemorySources({"s1": Source(id="s1", name="s", base_url="https://h.example")})
        self.reader = ScriptedReader({REFERENCE.format(0): BODY})
        self.budget = MemoryBudget(1000, free=0)
        self.fetching = self.over(self.reader)

    def over(self, reader: ScriptedReader) -> Fetching:
        made = Fetching(self.documents, self.sources, reader, self.budget, lambda: NOW)
        made._lots.patience = 3600.0  # these deliveries cannot pass a part on
        return made

    async def fetch(self, *items: int, job: str = JOB) -> list[Message]:
        return list(await self.fetching.handle(Delivery(FetchDocuments(job=job, items=items or (0,)), None)))


@pytest.fixture
async def setting() -> Setting:
    made = Setting()
    await made.documents.plan(start(3))
    return made


async def test_a_document_is_kept_and_its_item_goes_on(setting: Setting) -> None:
    assert await setting.fetch() == [
        Message(DOCUMENT_SCRAPE, JOB, ScrapeDocuments(job=JOB, items=(0,)), (("items", b"0"),)),
        Message(JOBS_EVENTS, JOB, DocumentFetched(job=JOB, at=NOW, item=0, size=len(BODY))),
    ]
    kept = setting.documents.bodies[JOB, 0]
    assert (kept.data, kept.etag, kept.version) == (BODY, 'W/"1"', "1")


async def test_a_lot_is_kept_at_once_and_goes_on_as_one(setting: Setting) -> None:
    for item in (1, 2):
        setting.reader.answers[REFERENCE.format(item)] = BODY
    messages = await setting.fetch(0, 1, 2)
    assert messages[0].body == ScrapeDocuments(job=JOB, items=(0, 1, 2))
    told = tuple(Fetched(item=item, size=len(BODY)) for item in (0, 1, 2))
    assert [message.body for message in messages[1:]] == [DocumentsFetched(job=JOB, at=NOW, items=told)]
    assert set(setting.documents.bodies) == {(JOB, 0), (JOB, 1), (JOB, 2)}
    assert await setting.fetch(0, 1, 2) == messages, "delivered twice it says the same"


async def test_what_fails_of_a_lot_fails_alone_and_what_may_pass_is_tried_again_alone(
    setting: Setting,
) -> None:
    setting.reader.answers[REFERENCE.format(2)] = SourceFailure(
        ItemError.SOURCE_THROTTLED, 429, retry=True, after=30.0
    )
    with pytest.raises(Partly) as caught:
        await setting.fetch(0, 1, 2)
    assert {type(message.body) for message in caught.value.messages} == {
        ScrapeDocuments,
        DocumentFetched,
        ItemFailed,
    }
    assert [it.body.items for it in caught.value.messages if isinstance(it.body, ScrapeDocuments)] == [(0,)]
    (rest,) = caught.value.rest
    assert rest.message == Message(
        DOCUMENT_FETCH, f"{JOB}/2", FetchDocuments(job=JOB, items=(2,)), (("items", b"2"),)
    )
    assert isinstance(rest.why, Retry)
    assert (rest.why.code, rest.why.after, rest.why.status) == (ItemError.SOURCE_THROTTLED, 30.0, 429)


async def test_large_bodies_of_a_lot_do_not_wait_for_each_others_memory(setting: Setting) -> None:
    class Large(ScriptedReader):
        async def get_resource(self, *args: Any, hold: Any = None, **more: Any) -> Any:
            found = await super().get_resource(*args, hold=hold, **more)
            await hold.grow(len(found.body), 900)
            return found

    reader = Large({REFERENCE.format(item): BODY for item in range(3)})
    setting.fetching = setting.over(reader)
    async with asyncio.timeout(120):
        messages = await setting.fetch(0, 1, 2)
    assert messages[0].body == ScrapeDocuments(job=JOB, items=(0, 1, 2))
    assert setting.budget.held == 0


async def test_a_second_delivery_changes_nothing_says_the_same_and_asks_nobody(setting: Setting) -> None:
    first = await setting.fetch()
    setting.reader.answers[REFERENCE.format(0)] = b"changed meanwhile"
    assert await setting.fetch() == first
    assert setting.documents.bodies[JOB, 0].data == BODY
    assert len(setting.reader.asked) == 1


async def test_an_item_of_a_cancelled_job_is_left_alone(setting: Setting) -> None:
    await setting.fetch()
    await setting.documents.cancel(JOB)
    for item in (0, 1):
        assert await setting.fetch(item) == [
            Message(JOBS_EVENTS, JOB, ItemCancelled(job=JOB, at=NOW, item=item))
        ]
    assert len(setting.reader.asked) == 1


@pytest.mark.parametrize("code", [code for code in ItemError if code is not ItemError.CANCELLED])
async def test_a_final_failure_ends_the_item_with_its_code_and_status(
    setting: Setting, code: ItemError
) -> None:
    setting.reader.answers[REFERENCE.format(1)] = SourceFailure(code, 418)
    (message,) = await setting.fetch(1)
    assert message.body == ItemFailed(
        job=JOB, at=NOW, item=1, stage=Stage.FETCH, code=code, source_status=418
    )
    assert (JOB, 1) not in setting.documents.bodies


async def test_a_passing_failure_is_tried_again_when_the_source_said(setting: Setting) -> None:
    setting.reader.answers[REFERENCE.format(1)] = SourceFailure(
        ItemError.SOURCE_THROTTLED, 429, retry=True, after=30.0
    )
    with pytest.raises(Retry) as caught:
        await setting.fetch(1)
    raised = caught.value
    assert (raised.code, raised.after, raised.status) == (ItemError.SOURCE_THROTTLED, 30.0, 429)


async def test_a_source_that_is_gone_ends_the_item(setting: Setting) -> None:
    setting.sources.sources.clear()
    (message,) = await setting.fetch()
    assert isinstance(message.body, ItemFailed)
    assert message.body.code == ItemError.SOURCE_UNKNOWN


@pytest.mark.parametrize(("job", "item"), [(JOB, 3), (JOB, -1), ("x", 0), (JOB.upper(), 0)])
async def test_an_item_that_is_not_there_is_refused(setting: Setting, job: str, item: int) -> None:
    with pytest.raises(Reject):
        await setting.fetch(item, job=job)


async def test_a_database_that_is_away_is_waited_for(setting: Setting) -> None:
    setting.documents.away = True
    with pytest.raises(Unavailable):
        await setting.fetch()


async def test_memory_is_given_back_whatever_happens(setting: Setting) -> None:
    class Greedy(ScriptedReader):
        async def get_resource(self, *args: Any, hold: Any = None, **more: Any) -> Any:
            await hold.grow(900, 1000)
            raise SourceFailure(ItemError.NOT_JSON, 200)

    fetching = setting.over(Greedy())
    for _ in range(3):
        await fetching.handle(Delivery(FetchDocuments(job=JOB, items=(0,)), None))
    assert setting.budget.held == 0


def failed(code: str) -> ItemFailed:
    return ItemFailed(job=JOB, at=NOW, item=2, stage=Stage.FETCH, code=code)


def test_a_command_that_is_given_up_fails_its_item_even_if_it_cannot_be_read() -> None:
    fetching = Setting().fetching
    delivery = Delivery(FetchDocuments(job=JOB, items=(2,)), None, attempt=8)
    given_up = fetching.reports.on_dead(delivery, Failure("source_unavailable", 8))
    assert [message.body for message in given_up] == [failed("source_unavailable")]
    record = MemoryRecord(DOCUMENT_FETCH.name, 0, 0, item_key(JOB, 2).encode(), b"\xff")
    assert [message.body for message in fetching.reports.on_dead(record, Failure("malformed", 1))] == [
        failed("internal")
    ]


@pytest.mark.parametrize(
    "key", [None, b"", b"/", JOB.encode(), f"{JOB}/x".encode(), f"{JOB}/-1".encode(), b"\xff/1", b"x/1"]
)
def test_a_key_that_names_no_item_says_nothing(key: bytes | None) -> None:
    record = MemoryRecord(DOCUMENT_FETCH.name, 0, 0, key, b"{")
    assert Setting().fetching.reports.on_dead(record, Failure("malformed", 1)) == ()


def test_a_retry_is_told_with_its_time() -> None:
    delivery = Delivery(FetchDocuments(job=JOB, items=(2,)), None, attempt=2)
    (message,) = Setting().fetching.reports.on_retry(delivery, Failure("source_timeout", 2, NOW + 10))
    assert message.body == ItemRetrying(
        job=JOB, at=NOW, item=2, stage=Stage.FETCH, code="source_timeout", attempt=2, due=NOW + 10
    )


async def test_events_tell_nothing_of_what_was_read(setting: Setting) -> None:
    secret = b'{"resourceType":"DocumentReference","description":"canary-4711"}'
    setting.reader.answers[REFERENCE.format(0)] = secret
    said = b"".join([wire.encode(message.body) for message in await setting.fetch()])
    assert b"canary" not in said
    assert b"h.example" not in said
