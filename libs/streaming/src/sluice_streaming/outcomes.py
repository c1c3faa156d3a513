"""What a handler may raise, and what becomes of its message.

A handler that returns has handled its message. A business failure (the source has no such document) is no
exception: the handler returns the event that says so. What it raises is about the delivery itself.

========================  =================================================================
raised                    then
========================  =================================================================
`Retry`                   delivered again later through the retry tiers, up to the step's caps
`Reject`                  goes to the dead-letter topic now
`Partly`                  what was done is done, and the rest goes on by itself: each piece of it as
                          a message of its own, as if its own handler had raised what is said of it
`Unavailable`             our own infrastructure is away: same delivery again, in place, without end
anything else             a bug: as `Retry` with the code `internal`, logged without its message
========================  =================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sluice_streaming.messages import Message

INTERNAL = "internal"
"""The code of a failure that no handler named."""
MALFORMED = "malformed"
"""The code of a message that is not what its topic promises."""
TIME_LIMIT = "time_limit"
"""The code of a delivery that its handler did not finish in the step's time limit."""


class Retry(Exception):  # noqa: N818 - an outcome, not an error
    """It may pass: deliver the message again later.

    Parameters
    ----------
    code
        Why, as a short code without data (`source_throttled`).
    after
        Seconds the other side asked to be left alone (`Retry-After`): the message comes back no earlier,
        up to the longest tier's delay.
    status
        The HTTP status the other side answered with, if it did.
    counts
        False if nothing was tried: the delivery is put off for about `after`. That is no attempt, is not
        told, and may happen as often as it has to.
    """

    def __init__(
        self, code: str, after: float | None = None, status: int | None = None, *, counts: bool = True
    ) -> None:
        super().__init__(code)
        self.code = code
        self.after = after
        self.status = status
        self.counts = counts


class Reject(Exception):  # noqa: N818
    """It never will pass: the message goes to the dead-letter topic, with `code`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Unavailable(Exception):  # noqa: N818
    """Something of our own that everything needs is away; `what` names it (`postgres`, `kafka`).

    Attempts are not counted: the delivery is tried again in place until it comes back, and the service
    reports that it is not ready meanwhile.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(frozen=True, slots=True)
class Rest:
    """A piece of a delivery that could not be done.

    Parameters
    ----------
    message
        A command about this piece alone, for the topic the delivery came from.
    why
        `Retry`, `Reject` or, for a bug, whatever was raised.
    """

    message: Message
    why: BaseException


class Partly(Exception):  # noqa: N818
    """Some of the delivery was done: `messages` come of that. Each piece of `rest` goes its own way.

    A piece's attempts go on counting from the delivery's.
    """

    def __init__(self, messages: Sequence[Message], rest: Sequence[Rest]) -> None:
        super().__init__(f"{len(rest)} pieces are left")
        self.messages = messages
        self.rest = rest


class Fenced(Exception):  # noqa: N818
    """The partition belongs to another process now; what was done for it there is not ours to record."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a delivery failed.

    Parameters
    ----------
    code
        `Retry`'s or `Reject`'s code, `malformed` or `internal`.
    attempt
        The attempt that failed, from 1.
    due
        When it is tried again (Unix seconds); None if it is not.
    status
        `Retry`'s status.
    """

    code: str
    attempt: int
    due: float | None = None
    status: int | None = None


@contextmanager
def unavailable(what: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turn `errors`, which say that `what` is away, into `Unavailable`."""
    try:
        yield
    except errors:
        raise Unavailable(what) from None
