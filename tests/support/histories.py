"""Histories of document import jobs, as hypothesis strategies and as plain examples."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from sluice_contracts.events import (
    DocumentAttached,
    DocumentFetched,
    DocumentScraped,
    Event,
    FileLoaded,
    FileOutcome,
    ImportSettled,
    ItemCancelled,
    ItemEvent,
    ItemFailed,
    ItemRetrying,
    JobCancelled,
    JobKind,
    JobPlanned,
    PartSealed,
    Stage,
)

BEGAN = 1_764_000_000.0


def job_number(number: int) -> str:
    """Give a job id that is the same in every run."""
    return str(UUID(int=0x0191D2A0_0000_8000_8000_000000000000 + number))


def planned(job: str, items: int, at: float = BEGAN) -> JobPlanned:
    """Give a job's plan."""
    return JobPlanned(
        job=job,
        at=at,
        kind=JobKind.DOCUMENT_IMPORT,
        client="portal",
        subject="ann",
        submitted_at=BEGAN - 1,
        items=items,
    )


def attached(job: str, item: int, at: float = BEGAN + 9, outcome: FileOutcome = FileOutcome.CREATED) -> Any:
    """Give an item's success."""
    return DocumentAttached(job=job, at=at, item=item, file=f"{item:024x}", outcome=outcome, size=20_480)


def sealed(job: str, item: int, at: float = BEGAN + 9) -> PartSealed:
    """Give the success of an export's part."""
    return PartSealed(job=job, at=at, item=item, resource_type="Patient", files=1, count=9, size=20_480)


def loaded(job: str, item: int, at: float = BEGAN + 9, size: int = 20_480) -> FileLoaded:
    """Give the success of a bulk import's file."""
    counts = dict.fromkeys(("created", "updated", "unchanged", "stale", "invalid", "deleted"), 1)
    return FileLoaded(job=job, at=at, item=item, resource_type="Patient", read=5, size=size, **counts)


def failed(job: str, item: int, at: float = BEGAN + 9, code: str = "document_not_found") -> ItemFailed:
    """Give an item's failure."""
    return ItemFailed(job=job, at=at, item=item, stage=Stage.FETCH, code=code, source_status=404)


def whole_job(job: str, items: int) -> list[Event]:
    """Give the history of a job that goes well."""
    events: list[Event] = [planned(job, items)]
    for item in range(items):
        events.append(DocumentFetched(job=job, at=BEGAN + 1, item=item, size=2000))
        events.append(DocumentScraped(job=job, at=BEGAN + 2, item=item, keys=9))
        events.append(attached(job, item, BEGAN + 3 + item))
    return events


# Few different times, so that ties are met; some differ by less than a database keeps.
_times = st.builds(
    lambda tenths, micros: BEGAN + tenths / 10 + micros / 1e6,
    st.integers(0, 30),
    st.sampled_from([0, 0, 0.4, 3]),
)
_codes = st.sampled_from(["document_not_found", "source_timeout", "source_throttled"])


def _unfinished(job: str, item: int) -> st.SearchStrategy[ItemEvent]:
    return st.one_of(
        st.builds(
            ItemRetrying,
            job=st.just(job),
            item=st.just(item),
            at=_times,
            stage=st.sampled_from(Stage),
            code=_codes,
            attempt=st.integers(1, 4),
            due=_times,
        ),
        st.builds(DocumentFetched, job=st.just(job), item=st.just(item), at=_times, size=st.integers(0, 3)),
        st.builds(DocumentScraped, job=st.just(job), item=st.just(item), at=_times, keys=st.integers(0, 3)),
    )


def _final(job: str, item: int) -> st.SearchStrategy[ItemEvent]:
    return st.one_of(
        st.builds(
            DocumentAttached,
            job=st.just(job),
            item=st.just(item),
            at=_times,
            file=st.sampled_from(["a" * 24, "b" * 24]),
            outcome=st.sampled_from(FileOutcome),
            size=st.integers(0, 3),
        ),
        st.builds(
            PartSealed,
            job=st.just(job),
            item=st.just(item),
            at=_times,
            # What the status service does not keep is the same in all of them.
            resource_type=st.just("Patient"),
            files=st.just(1),
            count=st.just(9),
            size=st.integers(0, 3),
        ),
        st.builds(loaded, st.just(job), st.just(item), _times, st.integers(0, 3)),
        st.builds(
            ImportSettled,
            job=st.just(job),
            item=st.just(item),
            at=_times,
            files=st.just(2),
            failed=st.just(1),
        ),
        st.builds(
            ItemFailed,
            job=st.just(job),
            item=st.just(item),
            at=_times,
            stage=st.sampled_from(Stage),
            code=_codes,
            source_status=st.sampled_from([None, 404, 503]),
        ),
    )


@st.composite
def lawful(draw: st.DrawFn, jobs: int = 2) -> list[Event]:
    """Histories in which every item ends exactly once and nobody cancels."""
    events: list[Event] = []
    for number in range(draw(st.integers(1, jobs))):
        job = job_number(number)
        items = draw(st.integers(0, 4))
        events.append(planned(job, items))
        for item in range(items):
            events += draw(st.lists(_unfinished(job, item), max_size=3))
            events.append(draw(_final(job, item)))
    return events


@st.composite
def lawless(draw: st.DrawFn, jobs: int = 2) -> list[Event]:
    """Histories in which anything may be missing, contradict itself or be cancelled."""
    events: list[Event] = []
    for number in range(draw(st.integers(1, jobs))):
        job = job_number(number)
        items = draw(st.integers(0, 4))
        events += draw(st.lists(st.builds(planned, st.just(job), st.just(items), _times), max_size=2))
        events += draw(st.lists(st.builds(JobCancelled, job=st.just(job), at=_times), max_size=2))
        for item in range(items):
            cancelled = st.builds(ItemCancelled, job=st.just(job), at=_times, item=st.just(item))
            anything = st.one_of(_unfinished(job, item), _final(job, item), cancelled)
            events += draw(st.lists(anything, max_size=4))
    return events


@st.composite
def told_again(draw: st.DrawFn, history: list[Event]) -> list[Event]:
    """The same events in another order, some of them more than once."""
    again = draw(st.lists(st.sampled_from(history), max_size=6)) if history else []
    return list(draw(st.permutations(history + again)))
