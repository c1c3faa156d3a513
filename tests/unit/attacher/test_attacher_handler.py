"""The attach step: messages in, files and events out; everything is delivered twice."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from types import TracebackType
from typing import Any
from uuid import UUID

import msgspec
import pytest
from msgspec.structs import replace
from obstore.store import MemoryStore

from sluice_attacher.attaching import AttachingItems
from sluice_attacher.store import Outcome, ScrapedItem
from sluice_attacher.transfer import Transfer
from sluice_contracts.commands import AttachDocuments, ConflictResolution
from sluice_contracts.errors import ItemError
from sluice_contracts.events import (
    DocumentAttached,
    DocumentsAttached,
    FileOutcome,
    ItemCancelled,
    ItemFailed,
    ItemRetrying,
    Stage,
)
from sluice_contracts.topics import JOBS_EVENTS
from sluice_fhir.sources import Source
from sluice_security.failure import SourceFailure
from sluice_storage.catalogue.attachment import Attached, Attachment, Refusal
from sluice_storage.objects import Content, ObjectStore, ObjectStoreError
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.outcomes import Failure, Partly, Reject, Retry, Unavailable
from support.object_stores import KEYS

JOB = str(UUID(int=7))
SOURCE = Source(id="s", name="S", base_url="https://fhir.example.org", content_types=())
LIMIT = 5_000_000


class FakeAnswer:
    def __init__(self, body: Sequence[bytes], content_type: str, failure: SourceFailure | None) -> None:
        self.status = 200
        self.content_type = content_type
        self.content_length: int | None = None
        self.body, self.failure = body, failure
        self.open = False
        self.here = False

    def whole(self) -> bytes | None:
        assert self.open
        return b"".join(self.body) if self.here and self.failure is None else None

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.body:
            assert self.open
            yield piece
        if self.failure is not None:
            raise self.failure

    async def __aenter__(self) -> FakeAnswer:
        self.open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open = False


class FakeOpener:
    """Serves what the test puts at each URL, and notes what it was asked to accept."""

    def __init__(self) -> None:
        self.at: dict[str, FakeAnswer] = {}
        self.here = False
        self.accepted: list[str] = []

    def serve(
        self,
        url: str,
        *body: bytes,
        content_type: str = "application/pdf",
        failure: SourceFailure | None = None,
    ) -> FakeAnswer:
        self.at[url] = FakeAnswer(body, content_type, failure)
        return self.at[url]

    def open_attachment(self, source: Source, url: str, *, accept: str = "*/*") -> FakeAnswer:
        assert source is SOURCE or source.id == SOURCE.id
        self.accepted.append(accept)
        if url not in self.at:
            raise SourceFailure(ItemError.ATTACHMENT_NOT_FOUND, 404)
        self.at[url].here = self.here
        return self.at[url]


class FakeItems:
    """Items in memory; attaching records an outcome per item, as the catalogue does."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], ScrapedItem] = {}
        self.bodies: dict[tuple[str, int], bytes] = {}
        self.attached: list[Attachment] = []
        self.answers: list[Attached | Refusal] = []

    def put(self, item: int, body: bytes | None, /, **fields: Any) -> None:
        row = ScrapedItem(
            source="s",
            folder="f" * 24,
            name=None,
            rule=ConflictResolution.SKIP,
            tags=("t",),
            cancelled=False,
            attached=None,
            size=None if body is None else len(body),
            body=body,
            metadata=b'{"k":"v"}',
        )
        self.rows[JOB, item] = replace(row, **fields)

    async def find(self, job: str, items: Sequence[int]) -> Sequence[ScrapedItem | None]:
        return [self.rows.get((job, item)) for item in items]

    async def body(self, job: str, item: int) -> bytes | None:
        return self.bodies.get((job, item))

    async def attach(self, attachments: Sequence[Attachment]) -> Sequence[Outcome]:
        return [self._attach(attachment) for attachment in attachments]

    def _attach(self, attachment: Attachment) -> Attached | Refusal:
        if self.answers:
            answer = self.answers.pop(0)
        else:
            answer = Attached(
                FileOutcome.CREATED, f"{attachment.item:024x}", attachment.stored.size, attachment.others
            )
        self.attached.append(attachment)
        if isinstance(answer, Attached):
            place = (attachment.job, attachment.item)
            self.rows[place] = replace(self.rows[place], attached=answer)
        return answer


class FakeSources:
    def __init__(self) -> None:
        self.source: Source | None = SOURCE

    async def get(self, source_id: str) -> Source | None:
        return self.source if source_id == "s" else None

    async def match(self, url: str) -> Source | None:
        return self.source


class Bench:
    def __init__(self) -> None:
        self.items, self.opener, self.sources = FakeItems(), FakeOpener(), FakeSources()
        self.objects: Any = ObjectStore(MemoryStore(), KEYS)
        self.transfer = Transfer(self.opener, self.objects, limit=LIMIT, large=1)
        self.step = self.made()

    def made(self) -> AttachingItems:
        step = AttachingItems(self.items, self.sources, self.transfer, lambda: 5.0)
        step._lots.patience = 3600.0  # these deliveries cannot pass a part on
        return step

    async def once(self, item: int = 0, job: str = JOB) -> Any:
        messages = await self.step.handle(Delivery(AttachDocuments(job=job, items=(item,)), None))
        (message,) = messages
        assert isinstance(message, Message)
        assert (message.topic, message.key) == (JOBS_EVENTS, job)
        return message.body

    async def twice(self, item: int = 0) -> Any:
        """Deliver the command twice and insist on the same answer."""
        first = await self.once(item)
        assert await self.once(item) == first
        return first

    async def content(self, stored: Content) -> bytes:
        return b"".join([bytes(chunk) async for chunk in self.objects.read(stored)])


@pytest.fixture(params=[True, False], ids=["here", "streamed"])
def bench(request: pytest.FixtureRequest) -> Bench:
    made = Bench()
    made.opener.here = request.param
    return made


def document(*attachments: Any) -> bytes:
    return msgspec.json.encode({"id": "d1", "content": [{"attachment": each} for each in attachments]})


PDF = {"contentType": "application/pdf", "url": "Binary/1"}


async def test_an_attachment_becomes_a_file_once(bench: Bench) -> None:
    answer = bench.opener.serve("Binary/1", b"he", b"llo")
    bench.items.put(0, document({**PDF, "title": "T.pdf", "size": 5}, {"url": "Binary/2"}))
    event = await bench.twice()
    assert event == DocumentAttached(
        job=JOB, at=5.0, item=0, file="0" * 24, outcome=FileOutcome.CREATED, size=5, others=1
    )
    (attachment,) = bench.items.attached
    assert (attachment.name, attachment.content_type, attachment.tags) == ("T.pdf", "application/pdf", ("t",))
    assert (attachment.metadata, attachment.others) == ('{"k":"v"}', 1)
    assert await bench.content(attachment.stored) == b"hello"
    assert bench.opener.accepted == ["application/pdf"]
    assert not answer.open


async def test_a_lot_is_attached_together_and_each_item_has_its_own_end(bench: Bench) -> None:
    bench.opener.serve("Binary/1", b"hello")
    bench.items.put(0, document({**PDF, "url": "Binary/404"}))
    for item in (1, 2):
        bench.items.put(item, document(PDF))
    bench.items.put(3, document(PDF), cancelled=True)
    bench.items.put(4, document({"data": "QUJD"}))
    delivery = Delivery(AttachDocuments(job=JOB, items=(0, 1, 2, 3, 4)), None)
    for _ in range(2):
        bodies = [it.body for it in await bench.step.handle(delivery)]
        (told,) = [it for it in bodies if isinstance(it, DocumentsAttached)]
        assert [(it.item, it.file) for it in told.items] == [(item, f"{item:024x}") for item in (1, 2, 4)]
        assert {type(it) for it in bodies} == {DocumentsAttached, ItemFailed, ItemCancelled}
    assert [it.item for it in bench.items.attached] == [1, 2, 4]


async def test_a_row_that_the_database_refuses_leaves_its_lot_alone(bench: Bench) -> None:
    class Refusing(FakeItems):
        async def attach(self, attachments: Sequence[Attachment]) -> Sequence[Outcome]:
            outcomes = await super().attach(attachments)
            return [ValueError() if it.item == 1 else o for it, o in zip(attachments, outcomes, strict=True)]

    bench.items = Refusing()
    bench.step = bench.made()
    for item in range(3):
        bench.items.put(item, document({"data": "QUJD"}))
    with pytest.raises(Partly) as caught:
        await bench.step.handle(Delivery(AttachDocuments(job=JOB, items=(0, 1, 2)), None))
    assert [(it.message.key, type(it.why)) for it in caught.value.rest] == [(f"{JOB}/1", ValueError)]
    assert [it.body.item for it in caught.value.messages if isinstance(it.body, DocumentAttached)] == [0, 2]


async def test_inline_data_becomes_a_file_without_asking_the_source(bench: Bench) -> None:
    content = bytes(range(256)) * 5000
    stated = base64.b64encode(hashlib.sha1(content, usedforsecurity=False).digest()).decode()
    body = document({"contentType": "image/png", "data": base64.b64encode(content).decode(), "hash": stated})
    bench.items.put(0, body)
    assert (await bench.twice()).size == len(content)
    assert await bench.content(bench.items.attached[0].stored) == content
    assert bench.items.attached[0].name == "d1.png"
    assert bench.opener.accepted == []


async def test_a_large_document_is_read_by_itself(bench: Bench) -> None:
    body = document({"data": base64.b64encode(b"large").decode()})
    bench.items.put(0, body, body=None)
    bench.items.put(1, document(PDF), body=None)
    bench.items.bodies = {(JOB, 0): body, (JOB, 1): document(PDF)}
    bench.opener.serve("Binary/1", b"by url")
    events = await asyncio.gather(bench.once(0), bench.once(1))
    assert [event.size for event in events] == [5, 6]


async def test_a_binary_is_unwrapped_and_gives_its_type_where_the_document_has_none(bench: Bench) -> None:
    wrapped = b'{"resourceType":"Binary","contentType":"image/png","data":"QUJD"}'
    bench.opener.serve("Binary/1", wrapped[:10], wrapped[10:], content_type="application/fhir+json")
    bench.items.put(0, document({"url": "Binary/1", "size": 3}))
    assert (await bench.twice()).size == 3
    assert bench.items.attached[0].content_type == "image/png"
    assert bench.opener.accepted == ["*/*"]


@pytest.mark.parametrize(
    ("attachment", "body", "content_type", "code", "status"),
    [
        (PDF, b"<html>login", "text/html", ItemError.SOURCE_REJECTED, 200),
        ({**PDF, "size": 4}, b"hello", "application/pdf", ItemError.SIZE_MISMATCH, 200),
        ({**PDF, "size": 6}, b"hello", "application/pdf", ItemError.SIZE_MISMATCH, 200),
        ({**PDF, "hash": "AAAA"}, b"hello", "application/pdf", ItemError.HASH_MISMATCH, 200),
        ({**PDF, "size": LIMIT + 1}, b"hello", "application/pdf", ItemError.ATTACHMENT_TOO_LARGE, None),
        (PDF, bytes(LIMIT + 1), "application/pdf", ItemError.ATTACHMENT_TOO_LARGE, 200),
        ({"data": "not base64"}, b"", "", ItemError.BAD_INLINE_DATA, None),
        ({"data": "QUJD", "size": 2}, b"", "", ItemError.SIZE_MISMATCH, None),
        ({"url": "Binary/404"}, b"", "", ItemError.ATTACHMENT_NOT_FOUND, 404),
        ({}, b"", "", ItemError.NO_CONTENT, None),
    ],
)
async def test_what_is_wrong_with_a_content_fails_its_item_and_leaves_nothing(
    bench: Bench, attachment: Any, body: bytes, content_type: str, code: ItemError, status: int | None
) -> None:
    bench.opener.serve("Binary/1", body, content_type=content_type)
    bench.items.put(0, document(attachment))
    failed = ItemFailed(job=JOB, at=5.0, item=0, stage=Stage.ATTACH, code=code, source_status=status)
    assert await bench.twice() == failed
    assert bench.items.attached == []
    assert [found async for shard in _stored(bench) for found in shard] == []


async def _stored(bench: Bench) -> AsyncIterator[list[Any]]:
    for shard in range(256):
        async for batch in bench.objects.listed(shard):
            yield batch


async def test_a_type_the_source_is_not_trusted_with_is_refused_also_when_it_shows_late(bench: Bench) -> None:
    bench.sources.source = Source(id="s", name="S", base_url=SOURCE.base_url, content_types=("image/*",))
    wrapped = b'{"resourceType":"Binary","contentType":"text/html","data":"QUJD"}'
    bench.opener.serve("wrapped", wrapped, content_type="application/fhir+json")
    bench.opener.serve("plain", b"x", content_type="application/zip")
    for item, attachment in enumerate(({"url": "wrapped"}, {"url": "plain"}, PDF)):
        bench.items.put(item, document(attachment))
        assert (await bench.twice(item)).code == ItemError.CONTENT_REFUSED
    assert [found async for shard in _stored(bench) for found in shard] == []


async def test_what_may_pass_is_retried_and_says_so(bench: Bench) -> None:
    failure = SourceFailure(ItemError.SOURCE_THROTTLED, 429, retry=True, after=30)
    bench.opener.serve("Binary/1", b"he", failure=failure)
    bench.items.put(0, document(PDF))
    with pytest.raises(Retry) as retried:
        await bench.once()
    raised = retried.value
    assert (raised.code, raised.after, raised.status) == (ItemError.SOURCE_THROTTLED, 30, 429)
    delivery = Delivery(AttachDocuments(job=JOB, items=(0,)), None)
    (message,) = bench.step.reports.on_retry(delivery, Failure("source_throttled", 2, due=9.0))
    assert message.body == ItemRetrying(
        job=JOB, at=5.0, item=0, stage=Stage.ATTACH, code="source_throttled", attempt=2, due=9.0
    )


async def test_a_cancelled_item_is_left_alone(bench: Bench) -> None:
    bench.items.put(0, document(PDF), cancelled=True)
    assert await bench.twice() == ItemCancelled(job=JOB, at=5.0, item=0)
    assert bench.opener.accepted == []


async def test_an_item_that_took_effect_before_its_job_was_cancelled_stays_attached(bench: Bench) -> None:
    done = Attached(FileOutcome.RENAMED, "a" * 24, 9, 0)
    bench.items.put(0, None, cancelled=True, attached=done, metadata=None)
    assert (await bench.twice()).file == done.entry


@pytest.mark.parametrize(
    ("refusal", "event"),
    [
        (Refusal.CANCELLED, ItemCancelled(job=JOB, at=5.0, item=0)),
        (
            Refusal.DESTINATION_GONE,
            ItemFailed(job=JOB, at=5.0, item=0, stage=Stage.ATTACH, code=ItemError.DESTINATION_GONE),
        ),
    ],
)
async def test_a_refusal_by_the_catalogue_is_told(bench: Bench, refusal: Refusal, event: Any) -> None:
    bench.items.put(0, document({"data": "QUJD"}))
    bench.items.answers = [refusal, refusal]
    assert await bench.twice() == event


async def test_a_source_that_is_not_registered_any_more_fails_its_items(bench: Bench) -> None:
    bench.sources.source = None
    bench.items.put(0, document({"data": "QUJD"}))
    assert (await bench.twice()).code == ItemError.SOURCE_UNKNOWN


async def test_a_command_about_nothing_is_rejected_and_its_item_failed(bench: Bench) -> None:
    bench.items.put(1, None)
    bench.items.put(2, document(PDF), metadata=None)
    for job, item in ((JOB, 0), (JOB, 1), (JOB, 2), ("no job", 0), (JOB, 2**40), (JOB, -1)):
        with pytest.raises(Reject):
            await bench.once(item, job)
    delivery = Delivery(AttachDocuments(job=JOB, items=(0,)), None)
    (message,) = bench.step.reports.on_dead(delivery, Failure("no code of items", 1))
    assert message.body == ItemFailed(job=JOB, at=5.0, item=0, stage=Stage.ATTACH, code="internal")


class _Raw:
    topic, partition, offset, timestamp, value, headers = "t", 0, 0, 0, b"{", ()

    def __init__(self, key: bytes | None) -> None:
        self.key = key


def test_a_record_that_cannot_be_read_fails_the_item_its_key_names(bench: Bench) -> None:
    failure = Failure("malformed", 1)
    (message,) = bench.step.reports.on_dead(_Raw(f"{JOB}/12".encode()), failure)
    assert isinstance(message.body, ItemFailed)
    assert (message.body.job, message.body.item, message.body.code) == (JOB, 12, "internal")
    for key in (None, b"", b"x/1", f"{JOB}/".encode(), f"{JOB}/-1".encode(), b"\xff/1"):
        assert bench.step.reports.on_dead(_Raw(key), failure) == ()


async def test_a_store_that_is_away_is_waited_for(bench: Bench) -> None:
    class Away:
        async def put(self, data: bytes) -> Content:
            raise ObjectStoreError("away")

        async def write(
            self, chunks: AsyncGenerator[bytes, None], *, large: asyncio.Semaphore | None = None
        ) -> Content:
            await chunks.aclose()
            raise ObjectStoreError("away")

    bench.opener.serve("Binary/1", b"hello")
    bench.transfer._store = Away()
    for content in ({"data": "QUJD"}, {**PDF, "url": "Binary/1"}):
        bench.items.put(0, document(content))
        with pytest.raises(Unavailable):
            await bench.once()


async def test_metadata_that_postgres_cannot_hold_is_made_storable(bench: Bench) -> None:
    bench.items.put(0, document({"data": "QUJD"}), metadata=b'{"a\\u0000":["x\\u0000y",1],"b":"\\\\u0000"}')
    await bench.twice()
    assert msgspec.json.decode(bench.items.attached[0].metadata) == {"a": ["xy", 1], "b": "\\u0000"}
