"""What the running task works on: a job, and maybe one item of it; a request. Every line it logs says so.

Context variables, as the current trace is: what the task starts afterwards inherits them.
"""

from __future__ import annotations

from contextvars import ContextVar

Subject = tuple[str | None, int | None]
"""A job's id and an item's position in its request."""

_NOTHING: Subject = (None, None)
_current: ContextVar[Subject] = ContextVar("sluice_subject", default=_NOTHING)
_request: ContextVar[str | None] = ContextVar("sluice_request", default=None)


def about(job: str | None, item: int | None = None) -> None:
    """Say what the running task works on from now on."""
    _current.set((job, item))


def subject() -> Subject:
    """Give what the running task works on."""
    return _current.get()


def serving(request: str) -> None:
    """Say which HTTP request the running task answers, of which it is not known yet what it is about."""
    _request.set(request)
    _current.set(_NOTHING)


def request_served() -> str | None:
    """Give the id of the request that the running task answers, or was begun by."""
    return _request.get()
