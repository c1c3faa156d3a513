"""Topics on Kafka, made to be what `sluice_contracts.topics` declares."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from sluice_contracts.topics import ALL_TOPICS, Topic
from sluice_streaming.faults import FAULTS
from sluice_streaming.kafka_producer import MAX_BYTES
from sluice_streaming.outcomes import Unavailable

RETRY_PARTITIONS = 2
"""A tier is a waiting room, not a way to share work."""
DEAD_PARTITIONS = 1
DEAD_RETENTION = timedelta(days=30)
_LOOKS = 300


@dataclass(frozen=True, slots=True)
class Planned:
    """A topic as it should be on Kafka."""

    name: str
    partitions: int
    configs: dict[str, str]


@dataclass(slots=True)
class Changes:
    """What `create` did, by topic names."""

    created: list[str] = field(default_factory=list)
    grown: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)


def plan(topics: Iterable[Topic] = ALL_TOPICS, replication: int = 1) -> list[Planned]:
    """Give every topic that must exist: the declared ones, their retry tiers and dead-letter topics."""
    planned = []
    for topic in topics:
        configs = _configs(topic.retention, replication, compacted=topic.compacted)
        planned.append(Planned(topic.name, topic.partitions, configs))
        if not topic.retries:
            continue
        # A tier's records must outlive its delay; the topic's own retention is far longer.
        for tier in topic.retries:
            partitions = min(RETRY_PARTITIONS, topic.partitions)
            planned.append(Planned(topic.retry(tier), partitions, _configs(topic.retention, replication)))
        dead = _configs(DEAD_RETENTION, replication)
        planned.append(Planned(topic.dead, DEAD_PARTITIONS, dead))
    return planned


@dataclass(frozen=True, slots=True)
class Misfit:
    """A topic that is not as it should be: what is wrong with it, and whether it is not there at all."""

    name: str
    problem: str
    missing: bool = False


async def misfits(bootstrap: str, topics: Iterable[Topic] = ALL_TOPICS) -> list[Misfit]:
    """Say which topics are not as declared; changes nothing.

    Raises
    ------
    Unavailable
        Kafka did not answer.
    """
    async with connected(bootstrap, wait=10.0) as admin:
        existing = {topic["topic"]: topic for topic in await admin.describe_topics()}
        found = [Misfit(each.name, "is missing", True) for each in plan(topics) if each.name not in existing]
        there = [each for each in plan(topics) if each.name in existing]
        for each in there:
            count = len(existing[each.name]["partitions"])
            if count < each.partitions:
                found.append(Misfit(each.name, f"has {count} partitions instead of {each.partitions}"))
        # How many copies there are is the deployment's choice, and with it this one setting.
        mine = [Planned(it.name, it.partitions, _without_replicas(it.configs)) for it in there]
        found += [Misfit(name, "has other settings") for name in await _misset(admin, mine)]
        return found


def _without_replicas(configs: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in configs.items() if name != "min.insync.replicas"}


async def create(bootstrap: str, topics: Iterable[Topic] = ALL_TOPICS, *, replication: int = 1) -> Changes:
    """Create what is missing, add partitions where there are too few, and align the settings.

    Running it again changes nothing. Partitions are never taken away: Kafka cannot. Adding some moves keys
    to other partitions; stop the services that consume an ordered topic before its number is raised.

    Raises
    ------
    Unavailable
        Kafka did not answer.
    RuntimeError
        Kafka refused a topic; the text names it and why.
    """
    planned = {topic.name: topic for topic in plan(topics, replication)}
    changes = Changes()
    async with connected(bootstrap) as admin:
        existing = {topic["topic"]: topic for topic in await admin.describe_topics()}
        missing = [topic for name, topic in planned.items() if name not in existing]
        if missing:
            changes.created = await _create(admin, missing, replication)
        there = [topic for name, topic in planned.items() if name in existing]
        for topic in there:
            if len(existing[topic.name]["partitions"]) < topic.partitions:
                answer = await admin.create_partitions({topic.name: NewPartitions(topic.partitions)})
                _require((name, code) for name, code, *_ in answer.topic_errors)
                changes.grown.append(topic.name)
        changes.altered = await _align(admin, there)
        await _visible(admin, planned)
    return changes


async def remove(bootstrap: str, topics: Iterable[Topic] = ALL_TOPICS) -> None:
    """Remove these topics with all their records, those that are there.

    Raises
    ------
    Unavailable
        Kafka did not answer.
    RuntimeError
        Kafka refused; the text names the topic and why.
    """
    names = {topic.name for topic in plan(topics)}
    async with connected(bootstrap) as admin:
        there = [topic["topic"] for topic in await admin.describe_topics() if topic["topic"] in names]
        if not there:
            return
        answer = await admin.delete_topics(there)
        _require((name, code) for name, code, *_ in answer.topic_error_codes)
        for _ in range(_LOOKS):
            if not names & {topic["topic"] for topic in await admin.describe_topics()}:
                return
            await asyncio.sleep(0.2)
        raise Unavailable("kafka")


@asynccontextmanager
async def connected(bootstrap: str, wait: float = 60.0) -> AsyncIterator[Any]:
    """Give an admin client, waiting up to `wait` seconds for a broker.

    Raises
    ------
    Unavailable
        No broker answered, or one could not tell what it was asked inside of the block.
    """
    deadline = asyncio.get_running_loop().time() + wait
    while True:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        try:
            await admin.start()
            break
        except FAULTS as error:
            await admin.close()
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable("kafka") from error
            await asyncio.sleep(0.5)
    try:
        yield admin
    except KafkaError as error:
        raise Unavailable("kafka") from error
    finally:
        await admin.close()


async def _create(admin: Any, missing: Sequence[Planned], replication: int) -> list[str]:
    answer = await admin.create_topics(
        [NewTopic(t.name, t.partitions, replication, topic_configs=t.configs) for t in missing]
    )
    # Another process may have been faster.
    exists: int = TopicAlreadyExistsError.errno
    results = [(name, code) for name, code, *_ in answer.topic_errors]
    _require((name, code) for name, code in results if code != exists)
    return [name for name, code in results if code == 0]


async def _visible(admin: Any, planned: Mapping[str, Planned], wait: float = 30.0) -> None:
    """Wait until the brokers know what the controller decided, so that services may start."""
    deadline = asyncio.get_running_loop().time() + wait
    while not await _known(admin, planned):
        if asyncio.get_running_loop().time() > deadline:
            raise Unavailable("kafka")
        await asyncio.sleep(0.1)


async def _known(admin: Any, planned: Mapping[str, Planned]) -> bool:
    ready = {
        topic["topic"]: sum(partition["leader"] >= 0 for partition in topic["partitions"])
        for topic in await admin.describe_topics()
    }
    if any(ready.get(name, 0) < topic.partitions for name, topic in planned.items()):
        return False
    return not await _misset(admin, list(planned.values()))


async def _align(admin: Any, topics: Sequence[Planned]) -> list[str]:
    wrong = set(await _misset(admin, topics))
    changed = [
        ConfigResource(ConfigResourceType.TOPIC, topic.name, topic.configs)
        for topic in topics
        if topic.name in wrong
    ]
    if changed:
        for answer in await admin.alter_configs(changed):
            _require((resource[3], resource[0]) for resource in answer.resources)
    return [topic.name for topic in topics if topic.name in wrong]


async def _misset(admin: Any, topics: Sequence[Planned]) -> list[str]:
    """Name the topics that have other settings."""
    if not topics:
        return []
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in topics]
    actual: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(asked):
        for _code, _message, _kind, name, entries in answer.resources:
            actual[name] = {entry[0]: entry[1] for entry in entries}
    return [t.name for t in topics if any(actual.get(t.name, {}).get(k) != v for k, v in t.configs.items())]


def _configs(retention: timedelta | None, replication: int, *, compacted: bool = False) -> dict[str, str]:
    millis = -1 if retention is None else round(retention.total_seconds() * 1000)
    return {
        "cleanup.policy": "compact" if compacted else "delete",
        "retention.ms": str(millis),
        "max.message.bytes": str(MAX_BYTES),
        "min.insync.replicas": "2" if replication > 2 else "1",
    }


def _require(results: Iterable[tuple[str, int]]) -> None:
    refused = [f"{name}: {for_code(code).__name__}" for name, code in results if code != 0]
    if refused:
        raise RuntimeError("Kafka refused: " + ", ".join(refused))
