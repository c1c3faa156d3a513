"""A member of a Kafka consumer group.

Rebalances are eager: every member lets go of everything, because that is what aiokafka speaks. Offsets
never go back, since a member commits only between two rebalances and with its generation.

Pausing here is leaving partitions out of what is asked for: aiokafka's own `pause` throws away what it has
read ahead, and would fetch it again after each resume.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
)

from sluice_streaming.backend import Assignee
from sluice_streaming.faults import FAULTS, closed
from sluice_streaming.messages import Partition, Record
from sluice_streaming.outcomes import Fenced, Unavailable
from sluice_telemetry.logs import describe

log = structlog.get_logger(__name__)

# The poll loop's liveness is the watchdog's business: while every slot is taken by slow handlers nothing is
# polled, and the member must stay.
_NEVER_MS = 2**31 - 1
_STOP_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
_POSITION_SECONDS = 2.0
_PATIENCE_SECONDS = 15.0
_FATAL = (KafkaError, RuntimeError)


class KafkaConsumer:
    """A member of a group; see `Consumer`. `options` go to aiokafka."""

    def __init__(self, topics: Sequence[str], assignee: Assignee, **options: Any) -> None:
        self._topics = list(topics)
        self._options = options
        self._listener = _Listener(self, assignee)
        self._inner: Any = None
        self._paused: set[Partition] = set()
        self._wanted: tuple[TopicPartition, ...] | None = None
        self._changed = asyncio.Event()
        self._scope: asyncio.Timeout | None = None
        self._positions: dict[Partition, int] = {}
        self._failing_since: float | None = None
        self._error: Exception | None = None

    async def start(self) -> None:
        """Join, waiting for a broker and for the topics as long as that takes."""
        pause = 0.1
        while True:
            inner = AIOKafkaConsumer(
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                max_poll_interval_ms=_NEVER_MS,
                request_timeout_ms=20_000,
                metadata_max_age_ms=60_000,
                **self._options,
            )
            inner.subscribe(self._topics, listener=self._listener)
            self._inner = inner
            try:
                await inner.start()
            except FAULTS as error:
                log.info("waiting for Kafka", **describe(error))
                await closed(inner.stop(), _STOP_SECONDS)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)
            except BaseException:
                await closed(inner.stop(), _STOP_SECONDS)
                raise
            else:
                self._failing_since = None
                return

    async def stop(self) -> None:
        """Leave the group."""
        inner, self._inner = self._inner, None
        if inner is not None:
            await closed(inner.stop(), _STOP_SECONDS)

    async def poll(self, timeout: float, limit: int) -> Mapping[Partition, Sequence[Record]]:
        """Give records; see `Consumer`."""
        if self._error is not None:
            raise RuntimeError("a rebalance failed") from self._error
        try:
            batches = await self._get_unless_woken(timeout, limit)
        except FAULTS as error:
            await self._failed(error)
            raise Unavailable("kafka") from error
        self._failing_since = None
        for partition, records in batches.items():
            self._positions[partition] = records[-1].offset + 1
        return batches

    def pause(self, partitions: Collection[Partition]) -> None:
        """Leave these out from now on."""
        self._paused.update(partitions)
        self._wanted = None

    def resume(self, partitions: Collection[Partition]) -> None:
        """Ask for these again, now."""
        self._paused.difference_update(partitions)
        self._wanted = None
        self._wake()

    def seek(self, partition: Partition, offset: int) -> None:
        """Go on at `offset`."""
        with suppress(IllegalStateError):
            self._inner.seek(TopicPartition(*partition), offset)
            self._positions[partition] = offset

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Record offsets; see `Consumer`."""
        if self._inner is None:
            raise Fenced
        try:
            await self._inner.commit({TopicPartition(*p): offset for p, offset in offsets.items()})
        except (CommitFailedError, IllegalStateError, ConsumerStoppedError):
            raise Fenced from None
        except FAULTS as error:
            raise Unavailable("kafka") from error

    async def lag(self) -> Mapping[Partition, int]:
        """Give what lies after the last record polled, by asking the brokers."""
        inner = self._inner
        if inner is None:
            raise Unavailable("kafka")
        partitions = list(inner.assignment())
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                ends = await inner.end_offsets(partitions) if partitions else {}
        except FAULTS as error:
            raise Unavailable("kafka") from error
        lags = {}
        try:
            async with asyncio.timeout(_POSITION_SECONDS):
                for partition, end in ends.items():
                    # A position that stays unknown is the sign of a consumer that does not read.
                    lags[Partition(*partition)] = end
                    at = self._positions.get(partition)
                    lags[Partition(*partition)] -= await inner.position(partition) if at is None else at
        except FAULTS as error:
            log.info("positions not known yet", error=type(error).__name__)
        return lags

    def reset(self) -> None:
        """Forget what was known of partitions, when they change."""
        self._paused.clear()
        self._positions.clear()
        self._wanted = None
        self._wake()

    def fail(self, error: Exception) -> None:
        """Let the next poll raise: aiokafka itself only logs what a rebalance's listener raises."""
        self._error = error

    def _wake(self) -> None:
        self._changed.set()
        if self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time())
            self._scope = None

    async def _get_unless_woken(self, timeout: float, limit: int) -> dict[Any, list[Any]]:
        # Resuming a partition ends a wait that does not know of it, by this scope. aiokafka takes records
        # out of its buffers without awaiting, so an ended wait loses none.
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._scope = scope
                try:
                    return await self._get(timeout, limit)
                finally:
                    self._scope = None
        except TimeoutError:
            return {}

    async def _get(self, timeout: float, limit: int) -> dict[Any, list[Any]]:
        inner = self._inner
        if not self._paused:
            wanted: tuple[TopicPartition, ...] = ()
        else:
            if self._wanted is None:
                self._wanted = tuple(p for p in inner.assignment() if p not in self._paused)
            wanted = self._wanted
            if not wanted:
                self._changed.clear()
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
                return {}
        got: dict[Any, list[Any]] = await inner.getmany(
            *wanted, timeout_ms=round(timeout * 1000), max_records=limit
        )
        return got

    async def _failed(self, error: Exception) -> None:
        """Start over if errors do not pass.

        aiokafka raises a plain `KafkaError`, or what it met, when one of its background tasks has died of
        something unexpected (see `FAULTS`). Nothing revives them.
        """
        now = time.monotonic()
        log.warning("reading failed", group=self._options.get("group_id"), **describe(error))
        if self._failing_since is None:
            self._failing_since = now
        if type(error) in _FATAL or now - self._failing_since > _PATIENCE_SECONDS:
            log.warning("making a new consumer", group=self._options.get("group_id"))
            inner = self._inner
            await self._listener.on_partitions_revoked(inner.assignment())
            await closed(inner.stop(), _STOP_SECONDS)
            await self.start()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: KafkaConsumer, assignee: Assignee) -> None:
        self._consumer = consumer
        self._assignee = assignee

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        if revoked:
            try:
                await self._assignee.revoked([Partition(*partition) for partition in revoked])
            except Exception as error:
                self._consumer.fail(error)
                raise

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        try:
            self._consumer.reset()
            await self._assignee.assigned([Partition(*partition) for partition in assigned])
        except Exception as error:
            self._consumer.fail(error)
            raise
