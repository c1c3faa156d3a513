"""The Kafka producer: idempotent, shared by the process, and rebuilt when aiokafka gives it up."""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from collections.abc import Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnknownTopicOrPartitionError,
)

from sluice_streaming.faults import FAULTS, closed
from sluice_streaming.messages import Message, Outgoing, outgoing
from sluice_streaming.outcomes import Unavailable
from sluice_telemetry.logs import describe

log = structlog.get_logger(__name__)

MAX_BYTES = 4 * 1024 * 1024
"""The largest record; topics are created with the same limit."""
_BATCH_BYTES = 256 * 1024
_REQUEST_MS = 20_000
_SLOW_SECONDS = 5.0
_STOP_SECONDS = 3.0
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


def partition_of(key: bytes | None, partitions: Sequence[int], available: Sequence[int]) -> int:
    """Give a key's partition, by CRC-32 as librdkafka does; keyless records go anywhere.

    aiokafka's own choice, the Java client's murmur2, is written in Python and took a quarter of a worker's
    time. Every producer of these topics is this one, so they agree.
    """
    if key is None:
        return random.choice(available or partitions)  # noqa: S311 - spreading, not secrecy
    return zlib.crc32(key) % len(partitions)


class KafkaProducer:
    """A producer; see `Producer`. Started as often as it is stopped, it lives from the first to the last."""

    def __init__(self, bootstrap: str, *, patience: float, linger: float) -> None:
        self._bootstrap = bootstrap
        self._patience = patience
        self._linger = linger
        self._users = 0
        self._starting = asyncio.Lock()
        self._inner: Any = None
        self._pending: set[asyncio.Future[Any]] = set()
        self._heard = time.monotonic()

    def ready(self) -> bool | str:
        """Say whether what is published is acknowledged."""
        if self._inner is None:
            return "waiting for kafka"
        silent = bool(self._pending) and time.monotonic() - self._heard > _SLOW_SECONDS
        return "waiting for kafka" if silent else True

    async def start(self) -> None:
        """Connect, waiting for a broker as long as that takes."""
        self._users += 1
        try:
            await self._ensure()
        except BaseException:
            self._users -= 1
            raise

    async def stop(self) -> None:
        """Wait for what is under way, within a few seconds, and disconnect, unless others still use it."""
        self._users -= 1
        if self._users == 0 and self._inner is not None:
            inner, self._inner = self._inner, None
            await closed(inner.stop(), _STOP_SECONDS)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish messages; see `Producer`."""
        try:
            async with asyncio.timeout(self._patience):
                await self.send([outgoing(message) for message in messages])
        except TimeoutError:
            raise Unavailable("kafka") from None

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Publish bytes, waiting for acknowledgement without end; see `Producer`."""
        inner = self._inner or await self._ensure()
        futures: list[asyncio.Future[Any]] = []
        pending = self._pending
        if not pending:
            self._heard = time.monotonic()
        try:
            for record in records:
                # aiokafka insists on a key or a value; a record that came with neither is copied with none.
                value = b"" if record.value is None and record.key is None else record.value
                future = await inner.send(record.topic, value, key=record.key, headers=[*record.headers])
                futures.append(future)
                pending.add(future)
            for future in futures:
                await future
            self._heard = time.monotonic()
        except BaseException as error:
            for future in futures:
                future.add_done_callback(_seen)
            self._translate(inner, error)
            raise
        finally:
            pending.difference_update(futures)

    def _translate(self, inner: Any, error: BaseException) -> None:
        """Raise what an error of aiokafka's means to the caller; do nothing about others."""
        if isinstance(error, _TOO_LARGE):
            raise ValueError("a record is larger than Kafka accepts") from None  # noqa: TRY004
        if isinstance(error, UnknownTopicOrPartitionError):
            raise Unavailable("a topic that does not exist") from None
        if isinstance(error, FAULTS) and not isinstance(error, TimeoutError):
            self._give_up(inner, error)
            raise Unavailable("kafka") from error

    async def _ensure(self) -> Any:
        async with self._starting:
            pause = 0.1
            while self._inner is None:
                inner = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap,
                    enable_idempotence=True,
                    acks="all",
                    linger_ms=round(self._linger * 1000),
                    max_batch_size=_BATCH_BYTES,
                    max_request_size=MAX_BYTES,
                    request_timeout_ms=_REQUEST_MS,
                    partitioner=partition_of,
                )
                try:
                    await inner.start()
                except FAULTS as error:
                    await closed(inner.stop(), _STOP_SECONDS)
                    log.info("waiting for Kafka", **describe(error))
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 2.0)
                except BaseException:
                    await closed(inner.stop(), _STOP_SECONDS)
                    raise
                else:
                    self._inner = inner
            return self._inner

    def _give_up(self, inner: Any, error: BaseException) -> None:
        """Replace a producer that cannot go on, such as one whose sequence of batches has a gap."""
        if inner is not self._inner:
            return
        log.warning("making a new producer", **describe(error))
        self._inner = None
        for future in self._pending:
            if not future.done():
                future.set_exception(KafkaError("the producer was given up"))
        task = asyncio.create_task(closed(inner.stop(), _STOP_SECONDS))
        _closing.add(task)
        task.add_done_callback(_closing.discard)


def _seen(future: asyncio.Future[Any]) -> None:
    """Take note of an error nobody waits for any more, which asyncio would complain about."""
    if not future.cancelled():
        future.exception()


_closing: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references
