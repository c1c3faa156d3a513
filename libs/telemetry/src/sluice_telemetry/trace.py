"""W3C Trace Context: one trace follows a request from the portal through every topic and service.

A `traceparent` (W3C Trace Context, section 3.2) names the trace and the span that sent the message. Each
hop keeps the trace id and makes a span id of its own. The current trace is a context variable, so every
task started while a message is being handled, and every line it logs, belongs to that message's trace.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

TRACEPARENT = "traceparent"
"""The header's name, on HTTP and on Kafka."""

# Version 00 exactly; a later version may append fields, which are ignored (section 3.2.2.2).
_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_MAX_LENGTH = 512
_SAMPLED = 0x01
# Ids need to be distinct, not secret; the generator is seeded from the system's entropy.
_random = random.Random()  # noqa: S311


@dataclass(frozen=True, slots=True)
class Trace:
    """One span's place in a trace: 32 and 16 hexadecimal digits, and the flags byte."""

    trace_id: str
    span_id: str
    flags: int = _SAMPLED

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    @property
    def sampled(self) -> bool:
        """Whether its spans are told to a collector, where there is one."""
        return bool(self.flags & _SAMPLED)

    def child(self) -> Trace:
        """Give a new span of the same trace."""
        return Trace(self.trace_id, distinct(64), self.flags)


_current: ContextVar[Trace | None] = ContextVar("sluice_trace", default=None)


def new_trace() -> Trace:
    """Start a trace."""
    return Trace(distinct(128), distinct(64))


def parse(header: str | bytes | None) -> Trace | None:
    """Give the trace a header names, or None if it is absent or not a valid `traceparent`."""
    if header is None or len(header) > _MAX_LENGTH:
        return None
    text = header.decode("ascii", "replace") if isinstance(header, bytes) else header
    match = _FORM.fullmatch(text)
    if match is None or (text.startswith("00-") and len(text) != 55):
        return None
    trace_id, span_id, flags = match.groups()
    if trace_id.strip("0") == "" or span_id.strip("0") == "":
        return None  # all zeros is invalid (sections 3.2.2.3 and 3.2.2.4)
    return Trace(trace_id, span_id, int(flags, 16))


def current() -> Trace | None:
    """Give the trace that the running task belongs to."""
    return _current.get()


def bind(trace: Trace | None) -> None:
    """Make `trace` the running task's; what the task starts afterwards inherits it."""
    _current.set(trace)


def continued(header: str | bytes | None) -> Trace:
    """Give this hop's span: of the trace the header names, or of a new one."""
    parent = parse(header)
    return new_trace() if parent is None else parent.child()


def trace_id() -> str | None:
    """Give the id of the trace that the running task belongs to, None outside of any."""
    trace = _current.get()
    return None if trace is None else trace.trace_id


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Make `trace` current inside the block."""
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)


def distinct(bits: int) -> str:
    """Give so many random bits as hexadecimal digits: an id that is told apart from others, and no secret."""
    # `or 1`: an id of all zeros is invalid.
    return f"{_random.getrandbits(bits) or 1:0{bits // 4}x}"
