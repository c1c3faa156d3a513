"""Events as CloudEvents 1.0 on Kafka, in binary mode: the value is the event, its attributes are headers.

CloudEvents 1.0.2, section "Context Attributes", and its Kafka protocol binding, section 3.2. Nothing of this
is needed to read an event: its JSON says the same.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache, lru_cache

from sluice_contracts.events import DocumentsEvent, Event, ItemEvent, ItemFailed, ItemRetrying

SOURCE = "/v2/jobs"
"""Where events happen; `ce_source` and `ce_subject` together are an address below the gateway's."""
CONTENT_TYPE = "application/json"
SPEC_VERSION = "1.0"

VERSIONS: dict[str, int] = {}
"""Versions of published schemas, by message; 1 if it is not here. A change that breaks one takes the next."""

Headers = tuple[tuple[str, bytes], ...]


def type_of(name: str) -> str:
    """Give `ce_type` for a class of events: `org.sluice.job.finished` for `JobFinished`."""
    return "org.sluice" + "".join(f".{c.lower()}" if c.isupper() else c for c in name)


def schema_id(name: str) -> str:
    """Give the name of a message's schema: its `$id`, and `ce_dataschema`."""
    return f"urn:sluice:schema:{name}:{VERSIONS.get(name, 1)}"


def event_id(event: Event) -> str:
    """Give `ce_id`: the same, whenever the same is told again, and different for whatever differs.

    An item reaches each state once; only of waiting to be tried again there is more than one time.
    """
    name = type(event).__name__
    if not isinstance(event, ItemEvent):
        if isinstance(event, DocumentsEvent):
            return f"{event.job}/{','.join([str(it.item) for it in event.items])}/{name}"
        return f"{event.job}/{name}"
    if isinstance(event, ItemFailed):
        return f"{event.job}/{event.item}/{name}/{event.stage}/{event.code}"
    if isinstance(event, ItemRetrying):
        return f"{event.job}/{event.item}/{name}/{event.stage}/{event.attempt}/{round(event.at * 1000)}"
    return f"{event.job}/{event.item}/{name}"


def subject_of(event: Event) -> str:
    """Give `ce_subject`: the item if it is about one, else the job."""
    return f"{event.job}/items/{event.item}" if isinstance(event, ItemEvent) else event.job


def time_of(event: Event) -> str:
    """Give `ce_time` (RFC 3339)."""
    millis = round(event.at * 1000)
    return f"{_second(millis // 1000)}.{millis % 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(at: int) -> str:
    # Events come close together: writing a time anew is half of what an event's headers take.
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@cache
def _fixed(kind: type[Event]) -> Headers:
    name = kind.__name__
    return (
        ("content-type", CONTENT_TYPE.encode()),
        ("ce_specversion", SPEC_VERSION.encode()),
        ("ce_source", SOURCE.encode()),
        ("ce_type", type_of(name).encode()),
        ("ce_dataschema", schema_id(name).encode()),
    )


def headers_of(event: Event) -> Headers:
    """Give the record headers that make an event's record a CloudEvent."""
    return (
        *_fixed(type(event)),
        ("ce_id", event_id(event).encode()),
        ("ce_subject", subject_of(event).encode()),
        ("ce_time", time_of(event).encode()),
    )
