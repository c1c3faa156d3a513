"""Webhook messages: which events they are made of, and what is sent (Standard Webhooks, "Payload").

How they are signed is in `sluice_security.webhooks`; types are named as `ce_type` is, without `org.sluice.`.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from sluice_contracts.cloudevents import time_of, type_of
from sluice_contracts.events import Event
from sluice_contracts.schemas import messages_of
from sluice_contracts.topics import JOBS_EVENTS

_PREFIX = "org.sluice."
TYPES: dict[str, type[msgspec.Struct]] = {
    type_of(kind.__name__).removeprefix(_PREFIX): kind for kind in messages_of(JOBS_EVENTS)
}
"""The types of messages, each with the class of its event."""
NAMES: dict[type[msgspec.Struct], str] = {kind: name for name, kind in TYPES.items()}
USUAL = ("job.planned", "job.finished", "job.expired")
"""What an endpoint is told that names no types."""
PING = "webhook.ping"
"""The type of a message that only tries an endpoint."""


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a webhook's request: what happened when (RFC 3339), and the event as on `jobs.events`."""

    type: str
    timestamp: str
    data: msgspec.Raw


def payload_of(event: Event) -> bytes:
    """Give the body that tells of an event."""
    data = msgspec.Raw(msgspec.json.encode(event))
    return msgspec.json.encode(Payload(type=NAMES[type(event)], timestamp=time_of(event), data=data))


def ping_payload(at: float) -> bytes:
    """Give the body of a ping at `at` (Unix seconds)."""
    stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return msgspec.json.encode(Payload(type=PING, timestamp=stamp, data=msgspec.Raw(b"{}")))
