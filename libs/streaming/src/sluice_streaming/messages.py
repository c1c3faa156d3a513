"""What goes out, what comes in, and what a handler is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from sluice_contracts import wire
from sluice_contracts.cloudevents import headers_of
from sluice_contracts.events import Event
from sluice_contracts.topics import Topic
from sluice_telemetry.trace import TRACEPARENT, current

if TYPE_CHECKING:
    from sluice_streaming.outcomes import Rest

C = TypeVar("C")

Headers = tuple[tuple[str, bytes], ...]


class Partition(NamedTuple):
    """One partition of one topic, both by name on Kafka."""

    topic: str
    partition: int


class Record(Protocol):
    """A record as it was read; aiokafka's own records satisfy this, so none is converted.

    `timestamp` is Unix milliseconds.
    """

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102


class Message(Struct, frozen=True):
    """A message to publish: `body` as JSON on `topic`, partitioned by `key`."""

    topic: Topic
    key: str
    body: Struct
    headers: Headers = ()


class Outgoing(Struct, frozen=True):
    """Bytes to publish: what a message becomes, and what retries and dead letters are copied as."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class PassOn(Protocol):
    """Publishes what has come of a part of a delivery before the rest is done."""

    async def __call__(self, messages: Sequence[Message], rest: Sequence[Rest], done: int, /) -> None:
        """Publish messages, and the pieces that failed, and give the slots of `done` items free.

        The delivery itself goes on. Delivered again after a crash it is delivered whole.

        Raises
        ------
        Unavailable, ValueError
            As `Producer.publish`.
        """


async def nowhere(_messages: Sequence[Message], _rest: Sequence[Rest], _done: int) -> None:
    """Refuse to pass anything on: a delivery that no worker made has no way out."""
    raise RuntimeError("this delivery came from no worker")


class Delivery(Struct, Generic[C], frozen=True):
    """One message handed to a handler.

    Parameters
    ----------
    command
        The decoded message.
    record
        The record it came in.
    attempt
        Counts from 1. It counts failures that were retried; a delivery repeated after a crash has the
        number of the one before.
    pass_on
        For a handler that has done a part and still waits for the rest; see `PassOn`.
    """

    command: C
    record: Any
    attempt: int = 1
    pass_on: PassOn = nowhere


def outgoing(message: Message) -> Outgoing:
    """Give the message's bytes, with the running task's trace, and what an event is, in its headers."""
    headers = message.headers
    if message.topic.cloudevents and isinstance(message.body, Event):
        headers = (*headers, *headers_of(message.body))
    trace = current()
    if trace is not None:
        headers = (*headers, (TRACEPARENT, str(trace).encode()))
    return Outgoing(message.topic.name, message.key.encode(), wire.encode(message.body), headers)


def header(headers: Sequence[tuple[str, bytes]], name: str) -> bytes | None:
    """Give the last value of that name (on Kafka the last of several wins), or None."""
    found = None
    for key, value in headers:
        if key == name:
            found = value
    return found
