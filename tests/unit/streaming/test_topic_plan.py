"""What must exist on Kafka follows from the declarations."""

from __future__ import annotations

from sluice_contracts.topics import DOCUMENT_FETCH, JOBS_STATE, RETRY_TIERS, TOPICS
from sluice_streaming.topics_admin import plan


def test_a_topic_with_retries_has_its_tiers_and_its_dead_letters() -> None:
    names = [planned.name for planned in plan([DOCUMENT_FETCH])]
    tiers = [f"document.fetch.retry.{tier.name}" for tier in RETRY_TIERS]
    assert names == ["document.fetch", *tiers, "document.fetch.dead"]


def test_every_name_is_planned_once() -> None:
    names = [planned.name for planned in plan()]
    assert len(names) == len(set(names))
    assert {topic.name for topic in TOPICS} <= set(names)


def test_a_compacted_topic_keeps_its_last_records_for_ever() -> None:
    (planned,) = plan([JOBS_STATE])
    assert planned.configs["cleanup.policy"] == "compact"
    assert planned.configs["retention.ms"] == "-1"


def test_a_tiers_records_outlive_its_delay() -> None:
    retention = {planned.name: int(planned.configs["retention.ms"]) for planned in plan()}
    for topic in TOPICS:
        for tier in topic.retries:
            assert retention[topic.retry(tier)] > 100 * tier.delay.total_seconds() * 1000


def test_three_copies_are_written_to_two_before_they_count() -> None:
    assert plan([DOCUMENT_FETCH], replication=3)[0].configs["min.insync.replicas"] == "2"
    assert plan([DOCUMENT_FETCH], replication=1)[0].configs["min.insync.replicas"] == "1"
