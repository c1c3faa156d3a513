"""The Kafka producer: idempotent, shared by the process, and rebuilt when aiokafka gives it up."""

from __future__ import annotations

import asyncio
import time
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
from sluice_streaming.kafka_lot import ALONE_BYTES, LOT_BYTES, Lot, seen, size_of
from sluice_streaming.kafka_partition import partition_of
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
_ONE_TO_BLAME = (MessageSizeTooLargeError, RecordListTooLargeError, UnknownTopicOrPartitionError)
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


class KafkaProducer:
    """A producer; see `Producer`. Started as often as it is stopped, it lives from the first to the last.

    Parameters
    ----------
    patience
        Seconds that `publish` waits for acknowledgement.
    pace
        Seconds from one lot of records to the next; a record that comes alone does not wait.
    """

    def __init__(self, bootstrap: str, *, patience: float, pace: float) -> None:
        self._bootstrap = bootstrap
        self._patience = patience
        self._pace = pace
        self._next = 0.0  # when the next lot may be sent, by the loop's clock
        self._lot: Lot | None = None
        self._start: asyncio.Handle | None = None
        self._order = asyncio.Lock()  # lots are handed over whole, one after another
        self._carrying: set[asyncio.Task[None]] = set()
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
            self._send_lot()
            if self._carrying:
                await asyncio.wait(self._carrying, timeout=_STOP_SECONDS)
            inner, self._inner = self._inner, None
            await closed(inner.stop(), _STOP_SECONDS)
            for task in self._carrying:
                task.cancel()

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
        sizes = [size_of(record) for record in records]
        if not sizes:
            return
        if max(sizes) >= ALONE_BYTES:
            await self._send_alone(inner, records)
            return
        lot = self._gather(records, sum(sizes))
        try:
            # A caller that gives up leaves the others of its lot alone.
            await asyncio.shield(lot.done)
        except _ONE_TO_BLAME as error:
            if len(lot.records) == len(records):
                self._translate(inner, error)
                raise
            # Only some of the lot's records are to blame: everyone tries again without the others.
            await self._send_alone(inner, records)
        except Exception as error:
            self._translate(inner, error)
            raise

    def _gather(self, records: Sequence[Outgoing], size: int) -> Lot:
        loop = asyncio.get_running_loop()
        lot = self._lot
        if lot is None:
            lot = self._lot = Lot(loop)
            lot.done.add_done_callback(seen)
            # Even without a pause, one turn of the loop lets the callers that are ready now join this lot.
            pause = self._next - loop.time()
            self._start = (
                loop.call_later(pause, self._send_lot) if pause > 0 else loop.call_soon(self._send_lot)
            )
        lot.add(records, size)
        if lot.size >= LOT_BYTES and self._start is not None:
            self._start.cancel()
            self._send_lot()
        return lot

    def _send_lot(self) -> None:
        loop = asyncio.get_running_loop()
        lot, self._lot, self._start = self._lot, None, None
        if lot is None:
            return
        self._next = loop.time() + self._pace
        task = loop.create_task(self._carry(lot))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carry(self, lot: Lot) -> None:
        """Send a lot; whatever becomes of it, its callers hear of it."""
        self._wait_for(lot.done)
        futures: list[asyncio.Future[Any]] = []
        try:
            inner = self._inner or await self._ensure()
            batches = await lot.batches(inner)
            async with self._order:
                for topic, partition, batch in batches:
                    futures.append(await inner.send_batch(batch, topic, partition=partition))
            await asyncio.gather(*futures)
            self._heard = time.monotonic()
            if not lot.done.done():
                lot.done.set_result(None)
        except BaseException as error:
            if not lot.done.done():
                lot.done.set_exception(_abandoned(error))
            if not isinstance(error, Exception):
                raise
        finally:
            self._pending.discard(lot.done)
            for future in futures:
                future.add_done_callback(seen)

    def _wait_for(self, future: asyncio.Future[Any]) -> None:
        if not self._pending:
            self._heard = time.monotonic()
        self._pending.add(future)

    async def _send_alone(self, inner: Any, records: Sequence[Outgoing]) -> None:
        """Publish records one by one: the large ones, and those that must not answer for others."""
        futures: list[asyncio.Future[Any]] = []
        try:
            for record in records:
                # aiokafka insists on a key or a value; a record that came with neither is copied with none.
                value = b"" if record.value is None and record.key is None else record.value
                future = await inner.send(record.topic, value, key=record.key, headers=[*record.headers])
                futures.append(future)
                self._wait_for(future)
            for future in futures:
                await future
            self._heard = time.monotonic()
        except BaseException as error:
            for future in futures:
                future.add_done_callback(seen)
            self._translate(inner, error)
            raise
        finally:
            self._pending.difference_update(futures)

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


def _abandoned(error: BaseException) -> BaseException:
    # A lot that was cancelled must not look to its callers as if they themselves were cancelled.
    return KafkaError("the producer was stopped") if isinstance(error, asyncio.CancelledError) else error


_closing: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references
