"""A step: one topic, what handles its messages, and what is said when one fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from sluice_contracts.topics import Topic
from sluice_streaming.messages import Delivery, Message, Record
from sluice_streaming.outcomes import Failure

C = TypeVar("C")

Handler = Callable[[Delivery[C]], Awaitable[Sequence[Message]]]
"""Does the effect, then gives the messages to publish. They are published with acknowledgement from all
replicas, and only then is the delivery done. It may be called again for the same message, also at the same
time in another process: its effect must be idempotent and its messages the same."""

OnDead = Callable[[Delivery[C] | Record, Failure], Sequence[Message]]
"""What to publish when a message is dead-lettered. It is given the delivery, or the raw record if that could
not be decoded (its key still tells what it was about)."""

OnRetry = Callable[[Delivery[C], Failure], Sequence[Message]]
"""What to publish when a message is scheduled again; `Failure.due` is set."""


def _nothing(_subject: Any, _failure: Failure) -> Sequence[Message]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Step(Generic[C]):
    """One topic's handling.

    Parameters
    ----------
    topic
        The topic; its retry tiers are consumed too.
    handle
        See `Handler`. May await as long as it needs, up to `time_limit`; must not block the event loop.
    on_dead, on_retry
        Messages to publish beside a dead letter or a retry, for example the event that the item failed.
        They do no I/O and do not raise.
    max_attempts
        Deliveries of one message, the first included, before it is dead-lettered; None: as many as the
        worker's limits say.
    max_age
        How long after its first failure a message may still be scheduled again.
    time_limit
        Seconds after which a handler is cancelled and its delivery retried with the code `time_limit`.
    weigh
        How many of the worker's slots a message takes; for messages about several items, how many.
    """

    topic: Topic
    handle: Handler[C]
    on_dead: OnDead[C] = _nothing
    on_retry: OnRetry[C] = _nothing
    max_attempts: int | None = None
    max_age: timedelta = timedelta(hours=2)
    time_limit: float = 3600.0
    weigh: Callable[[C], int] | None = None
