"""A deployment is looked over as a whole, and what is wrong is said with what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from sluice_fhir.condition_store import Minute, Shown
from sluice_fhir.conditions import Condition
from sluice_fhir.sources import Source
from sluice_gateway.checkup import (
    MUCH_LAG,
    Checkup,
    Finding,
    State,
    judged_answers,
    judged_clock,
    judged_disks,
    judged_keys,
    judged_lag,
    judged_letters,
    judged_migrations,
    judged_readiness,
    judged_source,
    judged_topics,
)
from sluice_gateway.settings import Settings
from sluice_streaming.topics_admin import Misfit
from sluice_streaming.topics_lag import TopicLag
from support.gateway_memory import memory_gateway
from support.object_stores import MASTER_KEYS

SOURCE = Source(id="s1", name="Ward 3", base_url="https://ward.example/r4", max_concurrency=8)


async def fine() -> Sequence[Finding]:
    return [Finding("one", State.OK, "answers")]


async def odd() -> Sequence[Finding]:
    return [Finding("two", State.WARNING, "is slow", "Wait.")]


async def broken() -> Sequence[Finding]:
    raise ConnectionError("Jane Doe")


async def silent() -> Sequence[Finding]:
    await asyncio.sleep(3600)
    return []


async def test_what_does_not_answer_is_told_and_keeps_nothing_from_being_told() -> None:
    found = await Checkup({"a": silent, "b": broken, "c": fine}, patience=0.05)()
    assert [(it.name, it.state) for it in found] == [
        ("a", State.FAILING),
        ("b", State.FAILING),
        ("one", State.OK),
    ]
    assert "Jane" not in str(found)
    assert all(it.advice for it in found[:2])


async def test_operators_alone_are_told_and_the_worst_counts() -> None:
    async with memory_gateway() as site:
        for probes, worst in (
            ({"a": fine}, "ok"),
            ({"a": fine, "b": odd}, "warning"),
            ({"b": broken}, "failing"),
        ):
            object.__setattr__(site.gateway, "checkup", Checkup(probes))
            answer = await site.client.get("/v2/ops/health", headers=site.bearer(scopes="ops/health"))
            body = await answer.json()
            assert (answer.status, body["state"], len(body["findings"])) == (200, worst, len(probes))
        assert (await site.client.get("/v2/ops/health", headers=site.bearer())).status == 403
        assert (await site.client.get("/v2/ops/health")).status == 401


def test_what_the_gateway_cannot_reach_is_failing() -> None:
    states = [it.state for it in judged_answers({"postgres": "ok", "kafka": "away"})]
    assert states == [State.OK, State.FAILING]


@pytest.mark.parametrize(
    ("missing", "unknown", "state", "advice"),
    [
        ([], [], State.OK, ""),
        (["0047.x"], [], State.FAILING, "sluice-migrate"),
        ([], ["0099.y"], State.WARNING, "newer version"),
    ],
)
def test_a_schema_that_is_behind_is_failing(
    missing: list[str], unknown: list[str], state: State, advice: str
) -> None:
    (found,) = judged_migrations(missing, unknown)
    assert found.state is state
    assert advice in found.advice


def test_clocks_that_disagree_are_failing_whichever_is_ahead() -> None:
    assert judged_clock(-29.0)[0].state is State.OK
    for ahead in (45.0, -45.0):
        (found,) = judged_clock(ahead)
        assert (found.state, found.text) == (
            State.FAILING,
            "the gateway's and Postgres's differ by 45 s",
        )
        assert "NTP" in found.advice


def test_a_disk_that_is_nearly_full_is_told_before_it_is() -> None:
    found = judged_disks(
        {"roomy": (10**12, 3 * 10**11), "small": (10**12, 9 * 10**10), "full": (10**12, 10**9)}
    )
    assert [(it.name, it.state) for it in found] == [
        ("roomy", State.OK),
        ("small", State.WARNING),
        ("full", State.FAILING),
    ]
    assert found[1].text == "9% are free, 90.0 GB"
    assert all("room" in it.advice for it in found[1:])


def test_what_no_master_key_opens_is_failing() -> None:
    assert judged_keys({"exports": 0, "contents": 0})[0].state is State.OK
    (found,) = judged_keys({"exports": 0, "contents": 3})
    assert (found.state, found.text.startswith("3 contents cannot be read")) == (State.FAILING, True)
    assert "SLUICE_MASTER_KEYS" in found.advice
    both = judged_keys({"exports": 1, "contents": 1})[0].text
    assert both.startswith("1 export and 1 content cannot be read")


def test_topics_that_are_missing_are_failing_and_other_settings_a_warning() -> None:
    assert judged_topics([])[0].state is State.OK
    assert judged_topics([Misfit("t", "has other settings")])[0].state is State.WARNING
    many = [Misfit(f"t{n}", "is missing", True) for n in range(9)]
    (found,) = judged_topics(many)
    assert found.state is State.FAILING
    assert "t0 is missing" in found.text
    assert "4 more" in found.text


def test_records_that_nobody_reads_and_long_queues_are_named_with_their_service() -> None:
    readers = {"t": ["fetcher"]}
    quiet = TopicLag("t", 8, 20, {"fetcher": 3})
    assert [it.state for it in judged_lag([quiet], readers)] == [State.OK]
    behind = replace(quiet, groups={"fetcher": MUCH_LAG + 1})
    assert [it.state for it in judged_lag([behind], readers)] == [State.WARNING]
    (unread,) = judged_lag([replace(quiet, groups={})], readers)
    assert (unread.state, unread.advice) == (State.FAILING, "Start the service fetcher.")
    assert judged_lag([TopicLag("t", 8, 0, {})], readers)[0].state is State.OK


def test_dead_letters_are_a_warning() -> None:
    assert judged_letters({"t": 0})[0].state is State.OK
    assert judged_letters({"t": 0, "u": 3})[0].text == "3 of u"


def test_services_say_what_they_wait_for() -> None:
    found = judged_readiness({"fetcher": "ready", "status": "is not ready: waiting for postgres"})
    assert [(it.name, it.state) for it in found] == [
        ("service fetcher", State.OK),
        ("service status", State.FAILING),
    ]
    assert judged_readiness({})[0].state is State.WARNING


def test_sources_that_refuse_us_fail_and_those_that_are_held_back_are_told() -> None:
    assert judged_source(SOURCE, None, None).state is State.OK
    refused = judged_source(SOURCE, "source_refused", None)
    assert (refused.state, "credentials" in refused.advice) == (State.FAILING, True)
    condition = Condition(4.0, held_until=200.0)
    held = judged_source(SOURCE, None, Shown(condition, 1, (Minute(60, 0, 3, 0, 0, 0.0),), 100.0))
    assert (held.state, "held" in held.text) == (State.WARNING, True)


def test_services_are_named_with_where_they_answer() -> None:
    told: dict[str, Any] = {"postgres": "postgresql://none", "secret": "5e" * 32, "master_keys": MASTER_KEYS}
    places = Settings(services="fetcher=http://f:8100, status=http://s:8100/", **told).services_by_name
    assert places == {"fetcher": "http://f:8100", "status": "http://s:8100"}
    assert Settings(**told).services_by_name == {}
    with pytest.raises(ValidationError):
        Settings(services="fetcher", **told)
