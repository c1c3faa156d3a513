"""Spans: one trace over any number of hops, told to a collector only where there is one."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from sluice_telemetry.spans import Kind, exporting, hop, span, within
from sluice_telemetry.subject import about
from sluice_telemetry.trace import Trace, current
from support.collector import CollectorStub, collecting

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[CollectorStub]:
    with collecting() as stub:
        monkeypatch.setenv(ENDPOINT, stub.url)
        yield stub


def travel(header: str | None = None) -> Trace:
    """Go two hops, with a call and a batch in the second; give the second's place."""
    with hop("first", Kind.SERVER, header) as first:
        between = str(current())
    with hop("second", Kind.CONSUMER, between) as second:
        about("j-1", 4)
        span("GET", Kind.CLIENT).end("source_timeout")
        with within("batch") as batch:
            batch.set("rows", 3)
            assert current() == batch.trace
        assert current() == second.trace
    about(None)
    assert (current(), first.trace.trace_id) == (None, second.trace.trace_id)
    return second.trace


def test_hops_calls_and_batches_are_one_trace(collector: CollectorStub) -> None:
    with exporting("tested", 1.0):
        place = travel()
    spans = {each.name: each for each in collector.of(place.trace_id)}
    assert {name: each.parent for name, each in spans.items()} == {
        "first": "",
        "second": spans["first"].id,
        "GET": place.span_id,
        "batch": place.span_id,
    }
    assert {each.service for each in spans.values()} == {"sluice-tested"}
    assert "j-1" in spans["second"].attributes["sluice.job"]
    assert "source_timeout" in spans["GET"].attributes["error.type"]


def test_a_trace_goes_on_as_it_began_and_the_ratio_decides_on_new_ones(collector: CollectorStub) -> None:
    with exporting("tested", 0.0):
        unsampled = travel()
        sampled = travel(f"00-{'a' * 32}-{'b' * 16}-01")
    with exporting("tested", 1.0):
        refused = travel(f"00-{'c' * 32}-{'d' * 16}-00")
    assert (unsampled.sampled, sampled.sampled, refused.sampled) == (False, True, False)
    assert {each.trace for each in collector.spans} == {"a" * 32}


def test_what_goes_wrong_inside_is_told_by_its_type_alone(collector: CollectorStub) -> None:
    with exporting("tested", 1.0), pytest.raises(ValueError, match="Jane"), hop("one", Kind.SERVER, None):
        raise ValueError("Jane Doe")
    (found,) = collector.spans
    assert "ValueError" in found.attributes["error.type"]
    assert "Jane" not in str(found)


def test_of_calls_are_told_those_that_fail_or_are_slow(collector: CollectorStub) -> None:
    with exporting("tested", 1.0, slow=3600.0), hop("one", Kind.CONSUMER, None):
        span("quick").end()
        span("failed").end("source_timeout")
    with exporting("tested", 1.0, slow=0.01), hop("two", Kind.CONSUMER, None) as two:
        slow = span("slow", Kind.CLIENT)
        slow.set("http.response.status_code", 200)
        time.sleep(0.02)
        slow.end()
    told = {each.name: each for each in collector.spans}
    assert set(told) == {"one", "failed", "two", "slow"}
    assert told["slow"].parent == two.trace.span_id
    assert "200" in told["slow"].attributes["http.response.status_code"]


def test_health_checks_are_told_to_nobody(collector: CollectorStub) -> None:
    with exporting("tested", 1.0), hop("GET /livez", Kind.SERVER, None, told=False):
        pass
    assert collector.spans == []


def test_without_a_collector_there_are_ids_all_the_same() -> None:
    with exporting("tested", 1.0, {}):
        place = travel(f"00-{'a' * 32}-{'b' * 16}-01")
    assert place.trace_id == "a" * 32
    assert span("GET") is span("POST")


def test_a_collector_that_is_away_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setattr("sluice_telemetry.otlp._SEND_SECONDS", 0.2)
    with exporting("tested", 1.0):
        travel()
