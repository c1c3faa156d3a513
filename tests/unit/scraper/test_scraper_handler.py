"""The scrape step: its effect, its messages, and what it does with each way of failing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from sluice_contracts.commands import AttachDocuments, ScrapeDocuments
from sluice_contracts.errors import ItemError
from sluice_contracts.events import (
    DocumentScraped,
    DocumentsScraped,
    ItemCancelled,
    ItemFailed,
    ItemRetrying,
    Stage,
)
from sluice_contracts.ids import job_id
from sluice_contracts.topics import DOCUMENT_ATTACH, DOCUMENT_SCRAPE, JOBS_EVENTS
from sluice_fhir.client import FetchedResource
from sluice_fhir.scrape import Scraper
from sluice_fhir.scrape_match import SchemaSet
from sluice_fhir.sources import Source
from sluice_scraper.scraping import SETTLE_AT, Scraping
from sluice_scraper.sources import SourceSchemas
from sluice_scraper.store import FetchedItem, ScrapedItem
from sluice_security.failure import SourceFailure
from sluice_streaming.lots import lot
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.outcomes import Failure, Partly, Reject, Retry
from support.scrape_source import BASE, SCHEMAS, MemorySource, document

JOB = job_id(b"k" * 32, "client/subject", 1_700_000_000.0, 7)
NOW = 1_700_000_100.0
PATIENT = {"resourceType": "Patient", "id": "p1", "gender": "female"}
DOCUMENT = msgspec.json.encode(document(subject={"reference": "Patient/p1"}, type={"text": "Letter"}))
SCHEMA_SET = SchemaSet.load(SCHEMAS)


class MemoryItems:
    """`sluice_scraper.store.Items` in dictionaries; bodies above `large` are given by `body` alone."""

    def __init__(self, large: int = 10_000) -> None:
        self.rows: dict[tuple[str, int], FetchedItem] = {}
        self.bodies: dict[tuple[str, int], bytes] = {}
        self.kept: dict[tuple[str, int], ScrapedItem] = {}
        self.large = large

    def put(self, item: int, body: bytes | None, **fields: Any) -> None:
        defaults: dict[str, Any] = {"source": "s1", "cancelled": False, "metadata": None, "scraped": None}
        small = body if body is not None and len(body) <= self.large else None
        self.rows[JOB, item] = FetchedItem(
            size=len(body) if body is not None else None, body=small, **defaults | fields
        )
        if body is not None:
            self.bodies[JOB, item] = body

    async def find(self, job: str, items: Sequence[int]) -> Sequence[FetchedItem | None]:
        return [self._find(job, item) for item in items]

    def _find(self, job: str, item: int) -> FetchedItem | None:
        row = self.rows.get((job, item))
        kept = self.kept.get((job, item))
        if row is None or kept is None:
            return row
        return FetchedItem(
            row.source, row.cancelled, row.size, row.body, row.metadata, (kept.metadata, len(kept.warnings))
        )

    async def body(self, job: str, item: int) -> bytes | None:
        return self.bodies.get((job, item))

    async def keep(self, job: str, scraped: Sequence[tuple[int, ScrapedItem]]) -> None:
        for item, made in scraped:
            self.kept.setdefault((job, item), made)


class MemorySources:
    def __init__(self, *sources: Source) -> None:
        self.sources = {source.id: source for source in sources}

    async def get(self, source_id: str) -> Source | None:
        return self.sources.get(source_id)


class MemoryClient:
    """`sluice_scraper.sources.JsonClient` over a source in memory."""

    def __init__(self, source: MemorySource) -> None:
        self.memory = source

    async def get_json(self, source: Source, url: str, *, expected: str) -> FetchedResource:
        return FetchedResource(await self.memory.read(url, expected), expected, None, None, None)


class Scene:
    def __init__(self, *, large: int = 10_000, schema: str | None = "generic-r4") -> None:
        self.items = MemoryItems(large)
        self.source = MemorySource(PATIENT)
        self.client = MemoryClient(self.source)
        self.sources = MemorySources(Source(id="s1", name="One", base_url=BASE, scrape_schema=schema))
        self.scraping = Scraping(
            self.items,
            self.sources,
            SourceSchemas(SCHEMA_SET, self.client),
            self.client,
            Scraper(),
            lambda: NOW,
        )
        self.scraping._lots.patience = 3600.0  # these deliveries cannot pass a part on

    async def handle(self, *items: int, attempt: int = 1, job: str = JOB) -> Sequence[Message]:
        command = ScrapeDocuments(job=job, items=items or (0,))
        return tuple(await self.scraping.handle(Delivery(command, None, attempt)))

    def metadata(self, item: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.items.kept[JOB, item].metadata)
        return found


def _passed_on(keys: int, warnings: int = 0, item: int = 0) -> tuple[Message, ...]:
    return (
        lot(DOCUMENT_ATTACH, AttachDocuments(job=JOB, items=(item,))),
        Message(JOBS_EVENTS, JOB, DocumentScraped(job=JOB, at=NOW, item=item, keys=keys, warnings=warnings)),
    )


EXPECTED = {
    "document_id": "d1",
    "document_status": "current",
    "document_type": "Letter",
    "patient_id": "p1",
    "gender": "female",
}


async def test_metadata_is_kept_and_the_item_passed_on() -> None:
    scene = Scene()
    scene.items.put(0, DOCUMENT)
    assert await scene.handle() == _passed_on(5)
    assert scene.metadata() == EXPECTED
    kept = scene.items.kept[JOB, 0]
    assert (kept.warnings, kept.schema) == ((), "generic-r4@1.0.0")


async def test_a_second_delivery_gives_the_same_messages_and_reads_nothing() -> None:
    scene = Scene()
    scene.items.put(0, DOCUMENT)
    first = await scene.handle()
    kept, reads = scene.items.kept[JOB, 0], list(scene.source.reads)
    scene.source.put("Patient/p1", {**PATIENT, "gender": "male"})
    assert await scene.handle(attempt=2) == first
    assert scene.items.kept[JOB, 0] == kept
    assert scene.source.reads == reads


async def test_the_callers_metadata_wins() -> None:
    scene = Scene()
    callers = {"gender": "not said", "study_id": "1", "cohort": 4, "document_type": None}
    scene.items.put(0, DOCUMENT, metadata=msgspec.json.encode(callers))
    assert await scene.handle() == _passed_on(7)
    assert scene.metadata() == EXPECTED | callers


async def test_a_required_value_that_is_missing_is_a_warning_and_the_item_goes_on() -> None:
    scene = Scene()
    scene.items.put(0, b'{"resourceType":"DocumentReference","status":"current"}')
    assert await scene.handle() == _passed_on(1, warnings=1)
    assert scene.items.kept[JOB, 0].warnings == ("document_id",)


async def test_a_jobs_documents_share_what_they_refer_to() -> None:
    scene = Scene()
    for item in range(20):
        scene.items.put(item, DOCUMENT)
        await scene.handle(item)
    assert scene.source.reads == ["Patient/p1"]


async def test_a_lot_shares_what_it_refers_to_and_is_passed_on_as_one() -> None:
    scene = Scene()
    for item in range(5):
        scene.items.put(item, DOCUMENT, cancelled=item == 3)
    messages = await scene.handle(0, 1, 2, 3, 4)
    lots = [message.body for message in messages if message.topic is DOCUMENT_ATTACH]
    assert lots == [AttachDocuments(job=JOB, items=(0, 1, 2, 4))]
    events = [message.body for message in messages if message.topic is JOBS_EVENTS]
    assert ItemCancelled(job=JOB, at=NOW, item=3) in events
    (told,) = [event for event in events if isinstance(event, DocumentsScraped)]
    assert [(it.item, it.keys, it.warnings) for it in told.items] == [(item, 5, 0) for item in (0, 1, 2, 4)]
    assert scene.source.reads == ["Patient/p1"]
    assert await scene.handle(0, 1, 2, 3, 4) == messages


async def test_an_item_that_lacks_its_document_leaves_its_lot() -> None:
    scene = Scene()
    scene.items.put(0, DOCUMENT)
    scene.items.put(1, None)
    with pytest.raises(Partly) as caught:
        await scene.handle(0, 1)
    assert tuple(caught.value.messages) == _passed_on(5)
    (rest,) = caught.value.rest
    assert rest.message == lot(DOCUMENT_SCRAPE, ScrapeDocuments(job=JOB, items=(1,)), key=JOB)
    assert isinstance(rest.why, Reject)


async def test_a_large_document_is_asked_for_by_itself() -> None:
    scene = Scene(large=100)
    scene.items.put(0, DOCUMENT)
    assert await scene.handle() == _passed_on(5)
    assert scene.metadata() == EXPECTED


async def test_an_item_of_a_cancelled_job_is_left_alone() -> None:
    scene = Scene()
    scene.items.put(0, DOCUMENT, cancelled=True)
    assert await scene.handle() == (Message(JOBS_EVENTS, JOB, ItemCancelled(job=JOB, at=NOW, item=0)),)
    assert not scene.items.kept
    assert not scene.source.reads


async def test_an_item_whose_source_is_registered_no_more_fails() -> None:
    scene = Scene()
    scene.items.put(0, DOCUMENT, source="gone")
    failed = ItemFailed(job=JOB, at=NOW, item=0, stage=Stage.SCRAPE, code=ItemError.SOURCE_UNKNOWN)
    assert await scene.handle() == (Message(JOBS_EVENTS, JOB, failed),)


@pytest.mark.parametrize(("job", "item"), [(JOB, 1), (JOB, -1), ("not a job", 0), (JOB.upper(), 0)])
async def test_a_command_about_no_item_is_rejected(job: str, item: int) -> None:
    scene = Scene()
    scene.items.put(0, DOCUMENT)
    with pytest.raises(Reject):
        await scene.handle(item, job=job)


async def test_an_item_that_was_never_fetched_is_rejected() -> None:
    scene = Scene()
    scene.items.put(0, None)
    with pytest.raises(Reject):
        await scene.handle()


async def test_a_busy_source_is_asked_again_later_and_in_the_end_done_without() -> None:
    scene = Scene()
    scene.items.put(0, DOCUMENT)
    scene.source.failures["Patient/p1"] = SourceFailure(
        ItemError.SOURCE_THROTTLED, 429, retry=True, after=9.0
    )
    for attempt in range(1, SETTLE_AT):
        with pytest.raises(Retry) as caught:
            await scene.handle(attempt=attempt)
        raised = caught.value
        assert (raised.code, raised.after, raised.status) == (ItemError.SOURCE_THROTTLED, 9.0, 429)
    assert not scene.items.kept
    assert await scene.handle(attempt=SETTLE_AT) == _passed_on(4)
    assert "gender" not in scene.metadata()


async def test_the_schema_is_matched_by_what_the_source_says_of_itself_once() -> None:
    scene = Scene(schema=None)
    statement = {"resourceType": "CapabilityStatement", "software": {"name": "Synthea demo server"}}
    scene.source.put("metadata", statement)
    for item in range(3):
        scene.items.put(item, DOCUMENT)
        await scene.handle(item)
    assert scene.items.kept[JOB, 0].schema.startswith("synthea@")
    assert scene.source.reads.count("metadata") == 1


async def test_a_source_that_does_not_describe_itself_gets_the_schema_for_all() -> None:
    scene = Scene(schema=None)
    scene.items.put(0, DOCUMENT)
    await scene.handle()
    assert scene.items.kept[JOB, 0].schema.startswith("generic-r4@")


async def test_a_source_too_busy_to_describe_itself_is_asked_again_later() -> None:
    scene = Scene(schema=None)
    scene.items.put(0, DOCUMENT)
    scene.source.failures["metadata"] = SourceFailure(ItemError.SOURCE_UNAVAILABLE, 503, retry=True)
    with pytest.raises(Retry):
        await scene.handle()
    await scene.handle(attempt=SETTLE_AT)
    assert scene.items.kept[JOB, 0].schema.startswith("generic-r4@")


async def test_what_an_operator_recorded_of_a_source_spares_asking_it() -> None:
    scene = Scene(schema=None)
    scene.sources.sources["s1"] = Source(id="s1", name="One", base_url=BASE, software="NCPI server")
    scene.items.put(0, DOCUMENT)
    await scene.handle()
    assert scene.items.kept[JOB, 0].schema.startswith("ncpi-research@")
    assert "metadata" not in scene.source.reads


async def test_a_choice_that_is_gone_falls_back_to_what_matches(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(schema="gone@1.0.0")
    scene.items.put(0, DOCUMENT)
    await scene.handle()
    assert scene.items.kept[JOB, 0].schema.startswith("generic-r4@")


def test_a_command_that_is_given_up_fails_its_item() -> None:
    scene = Scene()
    delivery = Delivery(ScrapeDocuments(job=JOB, items=(3,)), None, 8)
    for code, told in (
        (ItemError.SOURCE_TIMEOUT, ItemError.SOURCE_TIMEOUT),
        ("time_limit", ItemError.INTERNAL),
    ):
        failed = ItemFailed(job=JOB, at=NOW, item=3, stage=Stage.SCRAPE, code=told)
        assert scene.scraping.reports.on_dead(delivery, Failure(code, 8)) == (
            Message(JOBS_EVENTS, JOB, failed),
        )


def test_an_item_that_waits_to_be_tried_again_is_told() -> None:
    scene = Scene()
    delivery = Delivery(ScrapeDocuments(job=JOB, items=(3,)), None, 2)
    retrying = ItemRetrying(
        job=JOB,
        at=NOW,
        item=3,
        stage=Stage.SCRAPE,
        code=ItemError.SOURCE_THROTTLED,
        attempt=2,
        due=NOW + 10,
    )
    failure = Failure(ItemError.SOURCE_THROTTLED, 2, NOW + 10)
    assert scene.scraping.reports.on_retry(delivery, failure) == (Message(JOBS_EVENTS, JOB, retrying),)


CANARIES = ("Zanzibarian", "Wolkenstein", "1913-07-11", "canary-patient")


async def test_health_information_is_in_the_metadata_and_nowhere_else(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(schema="synthea")
    resource = document(
        type={"text": CANARIES[1]}, subject={"reference": f"Patient/{CANARIES[3]}"}, date=CANARIES[2]
    )
    scene.items.put(0, msgspec.json.encode(resource))
    scene.source.put(
        f"Patient/{CANARIES[3]}",
        {
            "resourceType": "Patient",
            "id": CANARIES[3],
            "address": [{"state": CANARIES[0]}],
            "gender": {"x": 1},
        },
    )
    messages = await scene.handle()
    assert scene.metadata()["patient_state"] == CANARIES[0]
    said = b"".join(msgspec.json.encode(message.body) for message in messages).decode()
    said += " ".join(scene.items.kept[JOB, 0].warnings)
    captured = capsys.readouterr()
    said += captured.out + captured.err + caplog.text
    assert "gender" in scene.items.kept[JOB, 0].warnings
    assert not [canary for canary in CANARIES if canary in said]
    scene.source.failures["Patient/x"] = SourceFailure(ItemError.SOURCE_THROTTLED, 429, retry=True)
    scene.items.put(1, msgspec.json.encode({**resource, "subject": {"reference": "Patient/x"}}))
    with pytest.raises(Retry) as caught:
        await scene.handle(1)
    assert str(caught.value) == ItemError.SOURCE_THROTTLED
