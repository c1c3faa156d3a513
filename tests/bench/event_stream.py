"""A stream of import events as a busy pipeline makes them, the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from uuid import UUID

from sluice_contracts.errors import ItemError
from sluice_contracts.events import (
    DocumentAttached,
    DocumentFetched,
    DocumentScraped,
    Event,
    FileOutcome,
    ItemFailed,
    ItemRetrying,
    JobKind,
    JobPlanned,
    Stage,
)

ITEMS = 100
BEGAN = 1_764_000_000.0


def job_id_of(number: int) -> str:
    """Give a job id of the usual layout: time first, so that later jobs have greater ids."""
    return str(UUID(int=(int(BEGAN * 1000) + number) << 80 | 0x8 << 76 | 0b10 << 62 | number))


def events(jobs: int, rate: float = 20_000, first: int = 0) -> list[Event]:
    """Give the events of `jobs` jobs of 100 items, in the order in which a pipeline would tell them.

    The pipeline makes `rate` events a second; an item is fetched, scraped some 150 ms later and attached some
    250 ms after that, so events of thousands of items of many jobs lie between an item's own. One item in
    fifty fails, one in a hundred is retried on the way.
    """
    chance = random.Random(20_260_101)
    spacing = 3 / rate
    told: list[tuple[float, Event]] = []
    for number in range(first, first + jobs):
        start = BEGAN + (number - first) * ITEMS * spacing
        told += _job(job_id_of(number), start, spacing, chance)
    told.sort(key=lambda pair: pair[0])
    return [event for _, event in told]


def _job(job: str, start: float, spacing: float, chance: random.Random) -> Iterator[tuple[float, Event]]:
    plan = JobPlanned(
        job=job,
        at=start,
        kind=JobKind.DOCUMENT_IMPORT,
        client="b7f3f0a2-portal",
        subject="user-0012",
        submitted_at=start - 0.1,
        items=ITEMS,
    )
    yield plan.at, plan
    for item in range(ITEMS):
        at = start + item * spacing + chance.expovariate(1 / 0.1)
        if chance.random() < 0.01:
            code = ItemError.SOURCE_THROTTLED.value
            yield at, ItemRetrying(job=job, at=at, item=item, stage=Stage.FETCH, code=code, attempt=1, due=at)
            at += 0.5
        yield at, DocumentFetched(job=job, at=at, item=item, size=2048)
        if chance.random() < 0.02:
            code = ItemError.ATTACHMENT_NOT_FOUND.value
            yield at, ItemFailed(job=job, at=at, item=item, stage=Stage.ATTACH, code=code, source_status=404)
            continue
        at += chance.expovariate(1 / 0.15)
        yield at, DocumentScraped(job=job, at=at, item=item, keys=12)
        at += chance.expovariate(1 / 0.25)
        file = f"{chance.getrandbits(96):024x}"
        yield (
            at,
            DocumentAttached(job=job, at=at, item=item, file=file, outcome=FileOutcome.CREATED, size=20_480),
        )
