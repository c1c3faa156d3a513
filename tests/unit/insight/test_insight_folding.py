"""Events in, rows out: what ended counts once, and estimates come from a job's own pace."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sluice_contracts.events import (
    Attached,
    DocumentFetched,
    DocumentsAttached,
    Event,
    FileOutcome,
    ImportSettled,
    ItemCancelled,
    JobCancelled,
    JobFinished,
    JobKind,
    JobOutcome,
)
from sluice_insight.folding import (
    FINISHED_KEPT,
    SILENT_KEPT,
    UNPLANNED_KEPT,
    Dimension,
    Folder,
    job_key,
    rate_key,
)
from sluice_insight.jobs import eta, stuck
from sluice_insight.rates import KEPT, WINDOW, Window
from sluice_streaming.clock import ManualClock
from support.histories import BEGAN, attached, failed, job_number, lawless, loaded, sealed
from support.insight import JOB, Site, plan, retrying


@pytest.fixture
def site() -> Site:
    return Site()


def finished(at: float) -> JobFinished:
    counts = {"items": 2, "attached": 2, "skipped": 0, "failed": 0, "cancelled": 0}
    kind, outcome = JobKind.DOCUMENT_IMPORT, JobOutcome.COMPLETED
    return JobFinished(job=JOB, at=at, kind=kind, outcome=outcome, **counts)


def test_what_ended_counts_for_its_source_and_its_client(site: Site) -> None:
    site.hear(plan(4), attached(JOB, 0), attached(JOB, 1), failed(JOB, 2), loaded(JOB, 3, size=7))
    expected = Window(items=4, failed=1, size=2 * 20_480 + 7)
    assert site.total("s1") == expected
    assert site.total("portal", Dimension.CLIENT) == expected
    assert (site.job().done, site.job().failed, site.job().size) == (4, 1, 2 * 20_480 + 7)


def test_an_event_about_several_items_counts_for_each(site: Site) -> None:
    ends = tuple(
        Attached(item=item, file=f"{item:024x}", outcome=FileOutcome.CREATED, size=item) for item in range(4)
    )
    told = DocumentsAttached(job=JOB, at=BEGAN + 9, items=ends)
    site.hear(plan(4), told, told, attached(JOB, 1))
    assert site.total("s1") == Window(items=4, failed=0, size=6)
    assert site.job().done == 4


def test_items_count_for_the_server_that_each_is_on(site: Site) -> None:
    spread = plan(3, sources=("s1", "s2"), item_sources=(0, 1, 1))
    site.hear(spread, *(attached(JOB, item) for item in range(3)))
    assert (site.total("s1").items, site.total("s2").items) == (1, 2)


def test_what_is_heard_before_its_plan_counts_when_that_comes(site: Site) -> None:
    site.hear(retrying(1, 0), attached(JOB, 1), attached(JOB, 1), failed(JOB, 0))
    assert (site.rates, site.job().done) == ({}, 2)
    site.hear(plan(3, sources=("s1", "s2"), item_sources=(0, 1, 1)), attached(JOB, 1), attached(JOB, 2))
    assert site.total("s1") == Window(items=1, failed=1)
    assert site.total("s2") == Window(items=2, faults=1, size=2 * 20_480)
    assert site.total("portal", Dimension.CLIENT) == Window(items=3, failed=1, faults=1, size=2 * 20_480)
    assert site.job().early == {}


def test_an_export_has_no_source_and_counts_for_its_client(site: Site) -> None:
    site.hear(plan(2, sources=()), sealed(JOB, 0))
    assert list(site.rates) == [rate_key(0, Dimension.CLIENT, "portal")]


@given(lawless(), st.randoms(use_true_random=False))
def test_ends_told_again_in_any_order_count_once(history: list[Event], chance: random.Random) -> None:
    once, again = Site(), Site()
    once.hear(*history)
    for site, events in ((once, history), (again, chance.sample(history + history, 2 * len(history)))):
        site.hear(*events)
        assert not site.refused
    ended = {key: bytes(view.ended).rstrip(b"\0") for key, view in once.folder.jobs.items()}
    assert {key: bytes(view.ended).rstrip(b"\0") for key, view in again.folder.jobs.items()} == ended
    for key, view in again.folder.jobs.items():
        assert view.done == once.folder.jobs[key].done == sum(byte.bit_count() for byte in view.ended)


def test_everything_delivered_twice_is_everything_delivered_once(site: Site) -> None:
    history = [plan(3), attached(JOB, 0), failed(JOB, 1, code="source_timeout")]
    site.hear(*history)
    before = (dict(site.jobs), dict(site.rates))
    site.hear(*history)
    assert (site.jobs, site.rates) == before


def test_an_item_that_failed_and_then_succeeded_has_ended_once(site: Site) -> None:
    site.hear(plan(2), failed(JOB, 0), attached(JOB, 0))
    assert (site.job().done, site.job().failed, site.total("s1").items) == (1, 1, 1)


def test_the_end_of_a_bulk_import_and_what_was_cancelled_are_no_work_done(site: Site) -> None:
    site.hear(
        plan(3),
        ImportSettled(job=JOB, at=BEGAN, item=2, files=2, failed=0),
        ItemCancelled(job=JOB, at=BEGAN, item=1),
    )
    assert (site.job().done, site.rates) == (2, {})


def test_attempts_that_failed_for_the_sources_reasons_are_its_faults(site: Site) -> None:
    site.hear(plan(9), retrying(0, 0), retrying(1, 0, "internal"), failed(JOB, 2, code="source_unavailable"))
    site.hear(failed(JOB, 3, code="document_not_found"))
    assert site.total("s1") == Window(items=2, failed=2, faults=2)


def test_windows_are_forgotten_after_a_while_and_rows_with_them(site: Site) -> None:
    site.hear(plan(2), attached(JOB, 0))
    site.clock.advance(KEPT + 2 * WINDOW)
    assert site.total("s1").items == 0
    site.folder.expire()
    assert site.rates == {}
    site.hear(attached(JOB, 1))  # told too late to be kept
    assert site.rates == {}
    assert site.job().done == 2


def test_only_windows_within_the_span_are_summed(site: Site) -> None:
    now = site.clock.now()
    site.hear(plan(9), attached(JOB, 0, now - 5), attached(JOB, 1, now - 70), attached(JOB, 2, now - 400))
    assert [site.total("s1", seconds=each).items for each in (60, 300, 900)] == [1, 2, 3]


def test_an_event_from_the_future_happens_now(site: Site) -> None:
    site.hear(plan(2), attached(JOB, 0, site.clock.now() + 9000))
    assert site.job().heard_at == site.clock.now()
    assert site.total("s1", seconds=60).items == 1


def test_an_event_that_cannot_be_folded_stops_no_other(site: Site) -> None:
    site.hear(plan(2), replace(attached(JOB, 0), job="../etc"), attached(JOB, 1))
    assert len(site.refused) == 1
    assert list(site.jobs) == [job_key(0, JOB)]
    assert site.job().done == 1


def test_rows_of_partitions_are_apart_and_shown_as_one(site: Site) -> None:
    site.hear(plan(2), attached(JOB, 0), partition=1)
    other = job_number(2)
    site.hear(replace(plan(2), job=other), attached(other, 0), partition=5)
    assert {key.partition("/")[0] for key in (*site.jobs, *site.rates)} == {"1", "5"}
    assert site.total("s1").items == 2


def test_jobs_are_forgotten_some_time_after_their_end_or_their_last_sign(site: Site) -> None:
    silent, unplanned = job_number(2), job_number(3)
    site.hear(plan(2), finished(site.clock.now()), replace(plan(2), job=silent), attached(unplanned, 0))
    for seconds, left in (
        (FINISHED_KEPT + 1, {silent, unplanned}),
        (UNPLANNED_KEPT, {silent}),
        (SILENT_KEPT, set()),
    ):
        site.clock.advance(seconds)
        site.folder.expire()
        assert {key.partition("/")[2] for key in site.jobs} == left


def test_an_estimate_follows_the_pace(site: Site) -> None:
    site.clock = ManualClock(BEGAN)
    site.folder = Folder(site.folder.jobs, site.folder.rates, site.clock.now)
    site.hear(plan(100))
    assert eta(site.job(), site.clock.now()) is None
    for item in range(50):
        site.clock.advance(2)
        site.hear(attached(JOB, item, site.clock.now()))
    now = site.clock.now()
    assert eta(site.job(), now) == pytest.approx(now + 100, rel=0.05)
    for item in range(50, 90):  # five times as fast
        site.clock.advance(0.4)
        site.hear(attached(JOB, item, site.clock.now()))
    faster = eta(site.job(), site.clock.now())
    assert faster is not None
    assert site.clock.now() + 4 <= faster < now + 36
    assert eta(site.job(), site.clock.now() + 600) > faster + 600  # type: ignore[operator]


def test_what_waits_for_another_try_is_waited_for(site: Site) -> None:
    due = site.clock.now() + 500
    site.hear(plan(4), attached(JOB, 0), attached(JOB, 1), attached(JOB, 2), retrying(3, due))
    assert eta(site.job(), site.clock.now()) == due


@pytest.mark.parametrize(
    "last",
    [JobCancelled(job=JOB, at=BEGAN), finished(BEGAN), attached(JOB, 1)],
    ids=["cancelled", "finished", "all have ended"],
)
def test_a_job_that_is_over_has_no_estimate_and_is_not_stuck(site: Site, last: Event) -> None:
    site.hear(plan(2), attached(JOB, 0), last)
    assert eta(site.job(), site.clock.now()) is None
    assert not stuck(site.job(), site.clock.now() + 1e6, 60)


def test_a_job_without_its_plan_has_no_estimate(site: Site) -> None:
    site.hear(attached(JOB, 0), attached(JOB, 1))
    assert eta(site.job(), site.clock.now()) is None
    site.hear(plan(4))
    assert eta(site.job(), site.clock.now()) is not None


def test_of_two_plans_the_earlier_stands(site: Site) -> None:
    late, early = replace(plan(9), at=BEGAN + 1), plan(2)
    for order in ((late, early), (early, late)):
        site.jobs.clear()
        site.hear(*order)
        assert (site.job().items, site.job().planned_at) == (2, BEGAN)


def test_every_sign_of_life_counts_against_being_stuck(site: Site) -> None:
    site.hear(plan(3))
    assert stuck(site.job(), BEGAN + 61, 60)
    site.hear(DocumentFetched(job=JOB, at=BEGAN + 50, item=0, size=1))
    assert not stuck(site.job(), BEGAN + 61, 60)
    assert stuck(site.job(), BEGAN + 111, 60)


def test_a_job_that_waits_for_a_try_that_is_due_later_is_not_stuck(site: Site) -> None:
    site.hear(plan(3), retrying(0, BEGAN + 600))
    assert not stuck(site.job(), BEGAN + 650, 60)
    assert stuck(site.job(), BEGAN + 661, 60)


def test_a_skipped_item_is_done_too(site: Site) -> None:
    site.hear(plan(2), attached(JOB, 0, outcome=FileOutcome.SKIPPED))
    assert site.job().done == 1


def test_the_largest_job_there_can_be_fits_a_record(site: Site) -> None:
    site.hear(plan(1_000_000), attached(JOB, 999_999))
    assert len(site.jobs[job_key(0, JOB)]) < 200_000
