"""One delivery, from a record to what must be published for the record to be done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import structlog
from msgspec import Struct

from sluice_contracts import wire
from sluice_contracts.commands import Command, ItemCommand, LotCommand
from sluice_streaming.cancelling import being_cancelled
from sluice_streaming.clock import Clock
from sluice_streaming.letters import dead_letter
from sluice_streaming.limits import Limits
from sluice_streaming.messages import Delivery, Headers, Message, Outgoing, Record, outgoing
from sluice_streaming.outcomes import (
    INTERNAL,
    MALFORMED,
    TIME_LIMIT,
    Failure,
    Partly,
    Reject,
    Rest,
    Retry,
    Unavailable,
)
from sluice_streaming.retries import History, choose_tier, foreign
from sluice_streaming.step import Step
from sluice_telemetry.logs import describe
from sluice_telemetry.subject import about

log = structlog.get_logger(__name__)

C = TypeVar("C")

DONE = "done"
RETRIED = "retried"
PUT_OFF = "put_off"
DEAD = "dead"
SKIPPED = "skipped"


class Settlement(Struct, frozen=True):
    """What a delivery came to.

    Parameters
    ----------
    outcome
        `done`, `retried`, `put_off`, `dead` or `skipped`.
    records
        To be published, all of them, before the record counts as done.
    capped
        It is a dead letter, or some of its pieces are, that the cap on dead letters counts.
    code
        Why it was retried or is dead.
    pieces
        Of a delivery that was done in part: outcome and code of each piece of the rest.
    """

    outcome: str
    records: tuple[Outgoing, ...] = ()
    capped: bool = False
    code: str = ""
    pieces: tuple[tuple[str, str], ...] = ()


Ahead = Callable[[Settlement, int], Awaitable[None]]
"""Publishes what a part of a delivery came to, and gives so many of its slots free."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """The record that a piece of a delivery would have come in; its place is the whole one's."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int


class Handling(Generic[C]):
    """Handles the records of one step. Publishes nothing itself."""

    def __init__(self, step: Step[C], clock: Clock, attempts: int = Limits.attempts) -> None:
        self._step = step
        self._attempts = step.max_attempts or attempts
        self._clock = clock
        self._decoder: wire.Decoder[C] = wire.Decoder(step.topic.messages)

    def read(self, record: Record) -> C | wire.MalformedMessageError:
        """Decode a record, or say what is wrong with it."""
        return self._decoder.decode_each((record.value or b"",))[0]

    def weigh(self, command: C | wire.MalformedMessageError) -> int:
        """Give how many slots handling takes, from 1."""
        weigh = self._step.weigh
        return 1 if weigh is None or isinstance(command, wire.MalformedMessageError) else weigh(command)

    async def handle(
        self,
        record: Record,
        command: C | wire.MalformedMessageError | None = None,
        ahead: Ahead | None = None,
    ) -> Settlement:
        """Call the handler and turn what it did into a settlement.

        Parameters
        ----------
        command
            What `read` gave.
        ahead
            Takes what the handler passes on before its end.

        Raises
        ------
        Unavailable
            Something that everything needs is away: call again later, with the same record.
        """
        if command is None:
            command = self.read(record)
        if isinstance(command, wire.UnknownTypeError):
            return Settlement(SKIPPED)
        if isinstance(command, wire.MalformedMessageError):
            log.warning("malformed message", **_place(record), reason=str(command))
            return self._dead(record, record, History.of(record), Reject(MALFORMED))
        _tell(command)
        history = History.of(record)
        delivery = Delivery(command, record, history.attempt)
        if ahead is not None and self._step.weigh is not None:
            delivery = Delivery(command, record, history.attempt, _PassOn(self, delivery, history, ahead))
        try:
            messages = await self._call(delivery)
            return Settlement(DONE, tuple([outgoing(message) for message in messages]))
        except Unavailable:
            raise
        except asyncio.CancelledError as error:
            if being_cancelled():
                raise
            # Something the handler waited for was cancelled, not the delivery.
            return self._failed(delivery, history, error)
        except Partly as outcome:
            return self.partly(delivery, history, outcome.messages, outcome.rest)
        except Exception as error:
            return self._failed(delivery, history, error)

    def refuse(self, record: Record, code: str) -> Settlement:
        """Give the settlement of a record whose results cannot be published, without its value."""
        history = History.of(record)
        letter = dead_letter(record, history, self._step.topic.dead, code, self._clock.now())
        letter = Outgoing(letter.topic, letter.key, None, letter.headers)
        messages = self._spoken(self._step.on_dead, record, Failure(code, history.attempt))
        return Settlement(DEAD, (letter, *messages), capped=True, code=code)

    def partly(
        self, delivery: Delivery[C], history: History, messages: Sequence[Message], rest: Sequence[Rest]
    ) -> Settlement:
        """Give the settlement of what was done, and of each piece that was not."""
        records = [outgoing(message) for message in messages]
        pieces = []
        capped = False
        for piece in rest:
            own = outgoing(piece.message)
            whole: Record = delivery.record
            record = _Piece(
                whole.topic,
                whole.partition,
                whole.offset,
                own.key,
                own.value,
                own.headers,
                whole.timestamp,
            )
            command: Any = piece.message.body
            _tell(command)
            settled = self._failed(Delivery(command, record, history.attempt), history, piece.why)
            records += settled.records
            capped = capped or settled.capped
            pieces.append((settled.outcome, settled.code))
        _tell(delivery.command)
        return Settlement(DONE, tuple(records), capped, pieces=tuple(pieces))

    async def _call(self, delivery: Delivery[C]) -> Sequence[Message]:
        scope = asyncio.timeout(self._step.time_limit)
        try:
            async with scope:
                return await self._step.handle(delivery)
        except TimeoutError:
            if scope.expired():
                raise Retry(TIME_LIMIT) from None
            raise

    def _failed(self, delivery: Delivery[C], history: History, error: BaseException) -> Settlement:
        if isinstance(error, Retry):
            return self._again(delivery, history, error)
        if isinstance(error, Reject):
            return self._dead(delivery, delivery.record, history, error)
        log.error("handler failed", **_place(delivery.record), attempt=history.attempt, **describe(error))
        return self._again(delivery, history, Retry(INTERNAL))

    def _again(self, delivery: Delivery[C], history: History, why: Retry) -> Settlement:
        step, now = self._step, self._clock.now()
        if not why.counts and step.topic.retries:
            return self._put_off(delivery, history, why)
        first = now if history.first_failed is None else history.first_failed
        history = replace(history, first_failed=first, due=None)
        tiers = step.topic.retries
        if not tiers or history.attempt >= self._attempts:
            return self._dead(delivery, delivery.record, history, why)
        tier = choose_tier(tiers, history.attempt, why.after)
        due = now + tier.delay.total_seconds()
        if due - first > step.max_age.total_seconds():
            return self._dead(delivery, delivery.record, history, why)
        record: Record = delivery.record
        later = replace(history, attempt=history.attempt + 1, due=due)
        headers = (*foreign(record.headers), *later.headers(why.code, why.status))
        copy = Outgoing(step.topic.retry(tier), record.key, record.value, headers)
        failure = Failure(why.code, history.attempt, due, why.status)
        return Settlement(RETRIED, (copy, *self._spoken(step.on_retry, delivery, failure)), code=why.code)

    def _put_off(self, delivery: Delivery[C], history: History, why: Retry) -> Settlement:
        topic, record = self._step.topic, delivery.record
        tier = choose_tier(topic.retries, 1, why.after)
        later = replace(history, due=self._clock.now() + tier.delay.total_seconds())
        headers = (*foreign(record.headers), *later.headers(why.code))
        copy = Outgoing(topic.retry(tier), record.key, record.value, headers)
        return Settlement(PUT_OFF, (copy,), code=why.code)

    def _dead(
        self, subject: Delivery[C] | Record, record: Record, history: History, why: Retry | Reject
    ) -> Settlement:
        code = why.code
        # A message that failed through its retries does not count, unless the fault is ours.
        capped, status = (code == INTERNAL, why.status) if isinstance(why, Retry) else (True, None)
        topic, now = self._step.topic.dead, self._clock.now()
        letter = dead_letter(record, history, topic, code, now, status=status)
        log.warning("dead letter", **_place(record), code=code, attempt=history.attempt)
        failure = Failure(code, history.attempt, status=status)
        messages = self._spoken(self._step.on_dead, subject, failure)
        return Settlement(DEAD, (letter, *messages), capped, code)

    def _spoken(
        self, say: Callable[[Any, Failure], Sequence[Message]], subject: Any, failure: Failure
    ) -> tuple[Outgoing, ...]:
        try:
            return tuple([outgoing(message) for message in say(subject, failure)])
        except Exception as error:
            # The letter must be written all the same: losing it too would help nobody.
            log.error("announcing a failure failed", topic=self._step.topic.name, **describe(error))  # noqa: TRY400
            return ()


class _PassOn(Generic[C]):
    """The way out of one delivery; see `PassOn`."""

    __slots__ = ("_ahead", "_delivery", "_handling", "_history")

    def __init__(self, handling: Handling[C], delivery: Delivery[C], history: History, ahead: Ahead) -> None:
        self._handling = handling
        self._delivery = delivery
        self._history = history
        self._ahead = ahead

    async def __call__(self, messages: Sequence[Message], rest: Sequence[Rest], done: int) -> None:
        settlement = self._handling.partly(self._delivery, self._history, messages, rest)
        await self._ahead(settlement, done)


def _tell(command: Any) -> None:
    """Have what is logged from now on say what it is about: a job, and its item if it is about one."""
    item = command.item if isinstance(command, ItemCommand) else None
    if isinstance(command, LotCommand) and len(command.items) == 1:
        item = command.items[0]
    about(command.job if isinstance(command, Command) else None, item)


def _place(record: Record) -> dict[str, Any]:
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}
