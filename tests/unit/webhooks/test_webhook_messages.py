"""What webhooks are sent: bodies that say what happened, signatures that the published library verifies."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from sluice_contracts.webhooks import NAMES, TYPES, USUAL, payload_of, ping_payload
from sluice_security.webhooks import secret_text, signed_headers
from sluice_webhooks.sending import pause

EXAMPLES = Path(__file__).parents[3] / "schemas" / "examples" / "messages"
SECRET = bytes(range(32))


def signed(body: bytes, at: datetime | None = None) -> dict[str, str]:
    moment = int((at or datetime.now(UTC)).timestamp())
    return signed_headers([SECRET], "job/JobFinished", moment, body)


@pytest.mark.parametrize("kind", TYPES.values(), ids=lambda kind: kind.__name__)
def test_a_body_names_type_and_time_and_holds_the_event_as_it_is_on_the_log(kind: type[Any]) -> None:
    raw = (EXAMPLES / f"{kind.__name__}.json").read_bytes()
    event = msgspec.json.decode(raw, type=kind)
    body = json.loads(payload_of(event))
    assert body["data"] == json.loads(msgspec.json.encode(event))
    assert body["type"] == NAMES[kind]
    assert datetime.fromisoformat(body["timestamp"]).timestamp() == round(event.at, 3)


def test_the_usual_types_are_those_of_whole_jobs() -> None:
    assert [TYPES[name].__name__ for name in USUAL] == ["JobPlanned", "JobFinished", "JobExpired"]


def test_the_published_library_verifies_what_is_signed_and_nothing_else() -> None:
    body = ping_payload(1.5)
    receiver = Webhook(secret_text(SECRET))
    assert receiver.verify(body, signed(body)) == json.loads(body)
    spoilt = [
        (body + b" ", signed(body)),
        (body, {**signed(body), "webhook-id": "job/JobPlanned"}),
        (body, signed(body, datetime.now(UTC) - timedelta(minutes=6))),
    ]
    for altered, headers in spoilt:
        with pytest.raises(WebhookVerificationError):
            receiver.verify(altered, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_text(SECRET[::-1])).verify(body, signed(body))


def test_of_two_signatures_a_receiver_takes_the_one_that_it_knows() -> None:
    old, new, body = SECRET, SECRET[::-1], ping_payload(1.5)
    headers = signed_headers([new, old], "ping/1", int(datetime.now(UTC).timestamp()), body)
    for secret in (old, new):
        assert Webhook(secret_text(secret)).verify(body, headers) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_text(b"x" * 32)).verify(body, headers)


def test_pauses_grow_and_a_day_holds_a_dozen_tries() -> None:
    pauses = [pause(attempt) for attempt in range(1, 20)]
    assert pauses == sorted(pauses)
    assert pauses[0] == timedelta(seconds=5)
    assert pauses[-1] == timedelta(hours=3)
    within = [n for n in range(1, 20) if sum(pauses[:n], timedelta()) < timedelta(days=1)]
    assert 10 <= len(within) <= 16
