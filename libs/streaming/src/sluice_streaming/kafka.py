"""Kafka, by aiokafka: the backend of production.

What aiokafka's defaults would get wrong is overridden here once: offsets are never committed by themselves,
a group without offsets starts at the beginning, production is idempotent with acknowledgement from all
in-sync replicas, and starting waits for a broker instead of failing. Kafka's transactions are not used:
aiokafka speaks their first versions, without the fencing of KIP-890.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from sluice_streaming.backend import Assignee
from sluice_streaming.faults import FAULTS
from sluice_streaming.kafka_consumer import KafkaConsumer
from sluice_streaming.kafka_producer import KafkaProducer
from sluice_streaming.outcomes import Unavailable
from sluice_streaming.topics_admin import connected

log = structlog.get_logger(__name__)

_TELL_SECONDS = 5.0
"""How often it is told that a broker is waited for."""


@dataclass(frozen=True, kw_only=True)
class KafkaTuning:
    """What may be tuned; times are in seconds.

    Parameters
    ----------
    patience
        How long `publish` waits for acknowledgement before it raises Unavailable.
    pace
        The least time from one batch to the next; a message that comes alone is sent at once. At a few
        hundred messages a second this makes a fortieth as many requests, which the broker and every
        consumer notice.
    session
        After how long without a heartbeat a member's partitions go to others.
    rebalance
        How long a rebalance waits for members to let go; longer than the worker's `drain`.
    fetch_wait
        How long the broker holds a fetch that finds nothing.
    fetch_bytes
        How much is read ahead of each partition.
    """

    patience: float = 10.0
    pace: float = 0.1
    session: float = 10.0
    rebalance: float = 30.0
    fetch_wait: float = 1.0
    fetch_bytes: int = 512 * 1024


class KafkaBackend:
    """Makes producers and consumers of one cluster.

    Parameters
    ----------
    bootstrap
        `host:port`, several separated by commas.
    instance
        A name that this process keeps over restarts and shares with no other of its group (static
        membership, KIP-345): killed and restarted it takes its partitions up again at once, where
        otherwise the others, and it, wait for its session to end. It does not leave the group
        when it stops, so a share that is not taken up again waits for that time too.
    """

    def __init__(
        self, bootstrap: str, *, instance: str | None = None, tuning: KafkaTuning | None = None
    ) -> None:
        self._bootstrap = bootstrap
        self._instance = instance
        self._tuning = tuning or KafkaTuning()
        self._producer: KafkaProducer | None = None

    async def cluster(self) -> str:
        """Give the cluster's id."""
        while True:
            with suppress(Unavailable, *FAULTS):
                async with connected(self._bootstrap, wait=_TELL_SECONDS) as admin:
                    return str((await admin.describe_cluster())["cluster_id"])
            log.info("waiting for Kafka")

    def producer(self) -> KafkaProducer:
        """Give the process's producer: one, however often it is asked for and started."""
        if self._producer is None:
            self._producer = KafkaProducer(
                self._bootstrap, patience=self._tuning.patience, pace=self._tuning.pace
            )
        return self._producer

    def consumer(self, group: str, topics: Sequence[str], assignee: Assignee) -> KafkaConsumer:
        """Make a member of `group`."""
        tuning = self._tuning
        return KafkaConsumer(
            topics,
            assignee,
            bootstrap_servers=self._bootstrap,
            group_id=group,
            group_instance_id=None if self._instance is None else f"{group}-{self._instance}",
            session_timeout_ms=round(tuning.session * 1000),
            heartbeat_interval_ms=round(min(1.0, tuning.session / 4) * 1000),
            rebalance_timeout_ms=round(tuning.rebalance * 1000),
            fetch_max_wait_ms=round(tuning.fetch_wait * 1000),
            max_partition_fetch_bytes=tuning.fetch_bytes,
        )
