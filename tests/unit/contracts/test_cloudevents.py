"""Events on Kafka are CloudEvents that the CloudEvents SDK reads, and tell the same twice under one id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event

from sluice_contracts import events, states, wire
from sluice_contracts.cloudevents import event_id, schema_id
from sluice_contracts.schemas import messages_of
from sluice_contracts.topics import JOBS_EVENTS, TOPICS
from sluice_streaming.messages import Message, outgoing

EXAMPLES = Path(__file__).parents[3] / "schemas" / "examples" / "messages"
KINDS = messages_of(JOBS_EVENTS)


def example(kind: type[Any]) -> Any:
    return msgspec.json.decode((EXAMPLES / f"{kind.__name__}.json").read_bytes(), type=kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_is_a_cloudevent_with_its_json_as_data(kind: type[Any]) -> None:
    event = example(kind)
    record = outgoing(Message(JOBS_EVENTS, event.job, event))
    assert len(dict(record.headers)) == len(record.headers)
    read = from_binary_event(KafkaMessage(dict(record.headers), record.key, record.value or b""))
    assert read.get_specversion() == "1.0"
    assert read.get_datacontenttype() == "application/json"
    assert read.get_source() == "/v2/jobs"
    assert read.get_type().startswith("org.sluice.")
    assert read.get_type().removeprefix("org.sluice.").replace(".", "") == kind.__name__.lower()
    assert read.get_dataschema() == schema_id(kind.__name__)
    subject = read.get_subject()
    assert subject == (f"{event.job}/items/{event.item}" if hasattr(event, "item") else event.job)
    time = read.get_time()
    assert time is not None
    assert time.timestamp() == round(event.at, 3)
    assert read.get_extension("partitionkey") == event.job
    assert read.get_data() == json.loads(wire.encode(event))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_told_again_later_has_the_same_id_unless_it_may_happen_more_than_once(
    kind: type[Any],
) -> None:
    event = example(kind)
    again = msgspec.structs.replace(event, at=event.at + 5)
    assert (event_id(event) == event_id(again)) == (kind is not events.ItemRetrying)


def test_events_that_differ_have_different_ids() -> None:
    job, other, at = "j", "k", 1.0
    failed = [
        events.ItemFailed(job=job, at=at, item=item, stage=stage, code=code)
        for item in (1, 2)
        for stage in (events.Stage.FETCH, events.Stage.ATTACH)
        for code in ("a", "b")
    ]
    plain = [
        events.JobCancelled(job=job, at=at),
        events.JobCancelled(job=other, at=at),
        *(events.ItemCancelled(job=job, at=at, item=item) for item in (1, 11)),
        *(
            events.DocumentsFetched(job=job, at=at, items=tuple(events.Fetched(item=i, size=1) for i in lot))
            for lot in ((1, 2), (12,), (1, 2, 3))
        ),
    ]
    ids = [event_id(event) for event in [*failed, *plain]]
    assert len(set(ids)) == len(ids)


def test_only_the_topic_of_events_carries_cloudevents() -> None:
    assert [topic.name for topic in TOPICS if topic.cloudevents] == ["jobs.events"]
    state = next(topic for topic in TOPICS if topic.name == "jobs.state")
    assert outgoing(Message(state, "j", example(states.JobState))).headers == ()
