"""Administering topics on a real broker: create, grow, align, look, redrive."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import GroupCoordinatorNotAvailableError
from typer.testing import CliRunner

from sluice_contracts.commands import WritePart
from sluice_contracts.topics import RETRY_TIERS, Topic
from sluice_streaming import topics_cli
from sluice_streaming.kafka import KafkaBackend
from sluice_streaming.letters import dead_letter
from sluice_streaming.memory import MemoryRecord
from sluice_streaming.messages import Partition
from sluice_streaming.outcomes import Unavailable
from sluice_streaming.retries import History
from sluice_streaming.topics_admin import connected, create, misfits
from sluice_streaming.topics_lag import survey
from support.streams import KafkaLog, commands


def declare() -> Topic:
    return Topic(
        name=f"t{uuid4().hex[:12]}",
        messages=WritePart,
        key="item",
        producers=(),
        consumers=(),
        partitions=3,
        retries=RETRY_TIERS,
    )


async def configuration(kafka: str, name: str) -> dict[str, str]:
    async with connected(kafka) as admin:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    ((_code, _message, _kind, _name, entries),) = answer.resources
    return {entry[0]: entry[1] for entry in entries}


async def test_creating_twice_changes_nothing(kafka: str) -> None:
    topic = declare()
    first = await create(kafka, [topic])
    assert sorted(first.created) == sorted([topic.name, topic.dead, *map(topic.retry, RETRY_TIERS)])
    second = await create(kafka, [topic])
    assert (second.created, second.grown, second.altered) == ([], [], [])


async def test_two_that_create_at_once_both_succeed(kafka: str) -> None:
    topic = declare()
    both = await asyncio.gather(create(kafka, [topic]), create(kafka, [topic]))
    assert sorted(both[0].created + both[1].created) == sorted(
        [topic.name, topic.dead, *map(topic.retry, RETRY_TIERS)]
    )


async def test_a_changed_declaration_is_applied_to_what_exists(kafka: str) -> None:
    topic = declare()
    await create(kafka, [topic])
    changes = await create(kafka, [replace(topic, partitions=5, retention=timedelta(days=3))])
    assert changes.grown == [topic.name]
    assert topic.name in changes.altered
    assert (await configuration(kafka, topic.name))["retention.ms"] == str(3 * 86_400_000)
    (found, *_) = await survey(kafka, [topic])
    assert found.partitions == 5


async def test_create_returns_when_the_brokers_know_what_it_changed(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = declare()
    await create(kafka, [topic])
    describe, answers, last = AIOKafkaAdminClient.describe_configs, [], None

    async def late(admin: Any, asked: Any) -> Any:
        """Tell what was so two questions ago."""
        nonlocal last
        answers.append(await describe(admin, asked))
        last = answers[max(0, len(answers) - 3)]
        return last

    monkeypatch.setattr(AIOKafkaAdminClient, "describe_configs", late)
    await create(kafka, [replace(topic, retention=timedelta(days=2))])
    assert str(2 * 86_400_000) in str(last)


async def test_what_is_not_as_declared_is_told_and_left_as_it_is(kafka: str) -> None:
    topic = declare()
    missing = await misfits(kafka, [topic])
    assert {(each.missing, each.problem) for each in missing} == {(True, "is missing")}
    await create(kafka, [topic])
    assert await misfits(kafka, [topic]) == []
    changed = replace(topic, partitions=5, retention=timedelta(days=1))
    told = {(each.name, each.problem) for each in await misfits(kafka, [changed])}
    assert (topic.name, "has 3 partitions instead of 5") in told
    assert (topic.name, "has other settings") in told
    assert await misfits(kafka, [topic]) == []


async def test_partitions_are_never_taken_away(kafka: str) -> None:
    topic = declare()
    await create(kafka, [topic])
    changes = await create(kafka, [replace(topic, partitions=1)])
    assert changes.grown == []


async def test_lag_is_counted_for_each_group_from_what_it_committed(kafka: str) -> None:
    log, topic, group = KafkaLog(kafka), declare(), uuid4().hex
    await create(kafka, [topic])
    producer = log.backend().producer()
    await producer.start()
    await producer.publish(commands(topic, 30))
    await producer.stop()

    class Nobody:
        async def assigned(self, partitions: object) -> None:
            """Nothing to take over."""

        async def revoked(self, partitions: object) -> None:
            """Nothing to hand back."""

    consumer = log.backend().consumer(group, [topic.name], Nobody())
    await consumer.start()
    await consumer.commit({Partition(topic.name, 0): 2})
    await consumer.stop()
    found = {row.name: row for row in await survey(kafka, [topic])}
    assert (found[topic.name].records, found[topic.name].groups) == (30, {group: 28})
    assert (found[topic.dead].records, found[topic.dead].groups) == (0, {})


def test_the_command_line_creates_lists_and_redrives(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = declare()
    asyncio.run(create(kafka, [topic]))
    asyncio.run(_bury(kafka, topic, 3))
    settled = replace(topic, name=f"{topic.name}.settled", redrivable=False)
    monkeypatch.setattr(topics_cli, "TOPICS", (topic, settled))
    monkeypatch.setenv("SLUICE_KAFKA", kafka)
    run = CliRunner().invoke
    assert run(topics_cli.app, ["redrive", topic.name, "--limit", "1"]).output == "redriven 1\n"
    assert run(topics_cli.app, ["redrive", topic.dead]).output == "redriven 2\n"
    assert run(topics_cli.app, ["redrive", "elsewhere"]).exit_code != 0
    refused = run(topics_cli.app, ["redrive", settled.name])
    assert (refused.exit_code, "has ended as failed" in refused.output) == (2, True)
    listed = run(topics_cli.app, ["list"])
    assert listed.exit_code == 0
    assert listed.output.startswith("TOPIC")
    assert run(topics_cli.app, ["create"]).exit_code == 0
    assert "nothing to change" in run(topics_cli.app, ["create"]).output


async def test_a_broker_that_does_not_answer_is_named(unused_tcp_port: int) -> None:
    with pytest.raises(Unavailable, match="kafka"):
        async with connected(f"127.0.0.1:{unused_tcp_port}", wait=0.1):
            pass


async def test_what_a_broker_cannot_tell_now_is_no_answer_either(kafka: str) -> None:
    with pytest.raises(Unavailable, match="kafka"):
        async with connected(kafka):
            raise GroupCoordinatorNotAvailableError


async def _bury(kafka: str, topic: Topic, count: int) -> None:
    record = MemoryRecord(topic.name, 0, 0, b"k", b"v")
    letter = dead_letter(record, History.of(record), topic.dead, "code", 0.0)
    producer = KafkaBackend(kafka).producer()
    await producer.start()
    await producer.send([letter] * count)
    await producer.stop()
