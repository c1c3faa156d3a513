"""What the running task works on: a job, and maybe one item of it. Every line it logs says so.

A context variable, as the current trace is: what the task starts afterwards inherits it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Subject = tuple[str | None, int | None]
"""A job's id and an item's position in its request."""

_NOTHING: Subject = (None, None)
_current: ContextVar[Subject] = ContextVar("sluice_subject", default=_NOTHING)


def about(job: str | None, item: int | None = None) -> None:
    """Say what the running task works on from now on."""
    _current.set((job, item))


def subject() -> Subject:
    """Give what the running task works on."""
    return _current.get()


@contextmanager
def apart() -> Iterator[None]:
    """Keep what the block says of its subject to the block: for a task that does one thing after another."""
    token = _current.set(_NOTHING)
    try:
        yield
    finally:
        _current.reset(token)
