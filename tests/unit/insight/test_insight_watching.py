"""Alerts are told once while they hold; what insight shows holds ids and counts."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest

from sluice_contracts import wire
from sluice_contracts.alerts import Alert, AlertEnded, JobStuck, SourceFailing
from sluice_contracts.events import JobKind
from sluice_contracts.topics import INSIGHT_ALERTS
from sluice_insight.folding import Dimension, partition_of
from sluice_insight.metrics import Tables
from sluice_insight.rows import Rows
from sluice_insight.views import Views
from sluice_insight.watching import Thresholds, Watch, holding, named, subject_of
from support.histories import BEGAN, attached, failed, job_number
from support.insight import JOB, Site, plan, retrying

LIMITS = Thresholds(stuck_after=600, failing_within=300, failing_faults=4, failing_share=0.5)


@pytest.fixture
def site() -> Site:
    return Site()


def held(site: Site) -> list[Alert]:
    return list(holding(site.folder.jobs, site.folder.rates, site.clock.now(), LIMITS))


def test_a_silent_job_is_stuck_until_it_is_heard_of_again(site: Site) -> None:
    site.hear(plan(3), attached(JOB, 0, BEGAN + 10))
    site.clock.advance(600)
    kind = JobKind.DOCUMENT_IMPORT
    assert held(site) == [JobStuck(at=site.clock.now(), job=JOB, kind=kind, since=BEGAN + 10, pending=2)]
    site.hear(attached(JOB, 1, site.clock.now()))
    assert held(site) == []


@pytest.mark.parametrize(("faults", "good", "failing"), [(4, 4, True), (3, 0, False), (4, 5, False)])
def test_a_source_fails_by_number_and_by_share(site: Site, faults: int, good: int, failing: bool) -> None:
    site.hear(plan(50), *(attached(JOB, item, site.clock.now()) for item in range(good)))
    for attempt in range(faults):
        site.hear(replace(retrying(40, 0), at=site.clock.now(), attempt=attempt))
    alerts = [each for each in held(site) if isinstance(each, SourceFailing)]
    assert [(each.source, each.faults, each.items) for each in alerts] == [("s1", faults, good)] * failing
    site.clock.advance(400)
    assert not [each for each in held(site) if isinstance(each, SourceFailing)]


def test_what_is_not_the_sources_fault_is_not_held_against_it(site: Site) -> None:
    now = site.clock.now()
    site.hear(plan(50), *(failed(JOB, item, now, "document_not_found") for item in range(30)))
    assert held(site) == []


FIRST = SourceFailing(at=1, source="s", seconds=300, faults=9, items=0)
ENDED = AlertEnded(at=5, alert="SourceFailing", about="s", since=1)


def test_an_alert_is_news_until_it_was_told() -> None:
    watch = Watch({})
    assert watch.news([FIRST], 1) == [FIRST]
    assert watch.news([replace(FIRST, at=2)], 2) == [replace(FIRST, at=2)]
    watch.note(FIRST)
    assert watch.news([replace(FIRST, at=3)], 3) == []
    # Since when it holds stays as it was told.
    assert list(watch.told.values()) == [FIRST]


def test_the_end_of_an_alert_is_news_until_it_was_told_or_holds_again() -> None:
    watch = Watch({})
    assert watch.news([], 0) == []
    watch.note(FIRST)
    assert watch.news([], 4) == [replace(ENDED, at=4)]
    assert watch.news([replace(FIRST, at=4.5)], 4.5) == []
    assert watch.news([], 5) == [ENDED]
    watch.note(ENDED)
    assert watch.news([], 6) == []
    assert watch.news([replace(FIRST, at=7)], 7) == [replace(FIRST, at=7)]


def test_a_line_of_a_log_names_a_job_as_job_and_a_source_as_source() -> None:
    stuck = JobStuck(at=2, job="j", kind=JobKind.BULK_EXPORT, since=0, pending=2)
    assert named(stuck) == {"job": "j"}
    for kind, name in (("JobStuck", "job"), ("SourceFailing", "source")):
        assert named(AlertEnded(at=3.0, alert=kind, about="x", since=2.0)) == {name: "x"}


def test_what_was_never_told_has_no_end_to_tell() -> None:
    watch = Watch({})
    assert watch.news([FIRST], 1) == [FIRST]
    assert watch.news([], 2) == []


def test_a_watcher_that_starts_tells_the_ends_of_what_the_one_before_told_and_not_again_what_holds() -> None:
    table: dict[str, bytes] = {}

    def started() -> Watch:
        return Watch(Rows(table, INSIGHT_ALERTS.messages))

    stuck = JobStuck(at=2, job=JOB, kind=JobKind.BULK_EXPORT, since=0, pending=2)
    before = started()
    for alert in before.news([FIRST, stuck], 2):
        before.note(alert)
    assert {partition_of(key) for key in table} == {0}
    after = started()
    assert after.news([replace(stuck, at=5)], 5) == [ENDED]
    after.note(ENDED)
    assert list(started().told.values()) == [stuck]


def test_alerts_go_over_the_wire_and_name_what_they_are_about() -> None:
    decoder: wire.Decoder[Alert] = wire.Decoder(INSIGHT_ALERTS.messages)
    for alert, about in (
        (JobStuck(at=1, job=JOB, kind=JobKind.BULK_EXPORT, since=0, pending=2), JOB),
        (SourceFailing(at=1, source="s", seconds=300, faults=9, items=0), "s"),
        (AlertEnded(at=2, alert="JobStuck", about=JOB, since=1), JOB),
    ):
        assert decoder.decode(wire.encode(alert)) == alert
        assert subject_of(alert) == about


def test_views_and_metrics_tell_rates_jobs_and_ends(site: Site) -> None:
    watch = Watch({})
    views = Views(site.folder, watch, LIMITS, site.clock.now)
    now = site.clock.now()
    site.hear(plan(6), *(attached(JOB, item, now - 1) for item in range(3)), failed(JOB, 3, now - 1))
    told = views.by(Dimension.SOURCE)["s1"]["60"]
    assert (told["items"], told["failed"], told["error_ratio"]) == (4, 1, 0.25)
    assert told["items_per_second"] == pytest.approx(4 / 60, abs=0.001)
    assert told["bytes_per_second"] == pytest.approx(3 * 20_480 / 60, abs=0.1)
    (shown,) = views.jobs()
    assert (shown["job"], shown["items"], shown["ended"], shown["stuck"]) == (JOB, 6, 4, False)
    assert views.etas([JOB, job_number(9), "nonsense"]) == {JOB: pytest.approx(shown["eta"], abs=0.1)}
    watch.note(SourceFailing(at=1, source="s1", seconds=300, faults=9, items=0))
    assert views.alerts()[0]["type"] == "SourceFailing"
    assert msgspec.json.encode([views.jobs(), views.alerts(), views.by(Dimension.CLIENT)])
    registry = CollectorRegistry()
    registry.register(Tables(views))
    text = generate_latest(registry).decode()
    assert 'sluice_insight_source_error_ratio{source="s1"} 0.25' in text
    assert 'sluice_insight_jobs{state="running"} 1.0' in text
    assert "subject" not in text
