"""Spans: what of a trace is told to a collector, when there is one.

Ids of traces are always made and passed on (`sluice_telemetry.trace`); a span beside them costs nothing as
long as traces are not exported. `exporting` begins that, for a process whose environment names a collector.

Attributes hold ids, names of topics and routes, codes and numbers, as logs do, and never health information.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from types import TracebackType
from typing import Protocol, Self

import structlog

from sluice_telemetry.subject import subject
from sluice_telemetry.trace import Trace, bind, current, new_trace, parse

log = structlog.get_logger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
Value = str | int | float | bool


class Kind(Enum):
    """What a span is to its parent (OpenTelemetry's span kinds)."""

    INTERNAL = 0
    SERVER = 1
    CLIENT = 2
    PRODUCER = 3
    CONSUMER = 4


class Span:
    """Something that takes time. This one is told to nobody."""

    __slots__ = ()

    def set(self, name: str, value: Value | None) -> None:
        """Add an attribute; None adds none."""

    def end(self, error: str | None = None) -> None:
        """End it; `error` is the code of what went wrong, if anything did."""


class Recorder(Protocol):
    """Makes spans that are told to a collector."""

    def begin(
        self, name: str, kind: Kind, parent: Trace | None, since: int | None = None
    ) -> tuple[Span, Trace]:
        """Begin a span, of a new trace if there is no parent, now or `since` (Unix nanoseconds).

        Gives it and its place.
        """

    def close(self) -> None:
        """Send what is waiting, within a few seconds."""


_UNTOLD = Span()
_recorder: Recorder | None = None
_slow = 0


class _Call(Span):
    """A span that is made when it ends, if it is worth telling then: most calls are quick, and many."""

    __slots__ = ("_kind", "_name", "_parent", "_recorder", "_since", "_values")

    def __init__(self, recorder: Recorder, name: str, kind: Kind, parent: Trace) -> None:
        self._recorder = recorder
        self._name = name
        self._kind = kind
        self._parent = parent
        self._since = time.time_ns()
        self._values: list[tuple[str, Value | None]] = []

    def set(self, name: str, value: Value | None) -> None:
        self._values.append((name, value))

    def end(self, error: str | None = None) -> None:
        if error is None and time.time_ns() - self._since < _slow:
            return
        made, _ = self._recorder.begin(self._name, self._kind, self._parent, self._since)
        for name, value in self._values:
            made.set(name, value)
        made.end(error)


def record_with(recorder: Recorder | None, slow: float = 0.0) -> None:
    """Tell spans that begin from now on to `recorder`; None: to nobody. For `slow` see `exporting`."""
    global _recorder, _slow
    _recorder, _slow = recorder, round(slow * 1e9)


@contextmanager
def exporting(
    service: str, ratio: float, environment: Mapping[str, str] = os.environ, *, slow: float = 0.0
) -> Iterator[None]:
    """Tell spans to the collector that the environment names, if it names one, until the end of the block.

    Parameters
    ----------
    service
        Whose spans they are.
    ratio
        Which share of traces that begin here is told, 0 to 1; one that began elsewhere goes on as it began.
    slow
        Seconds from which on calls (see `span`) are told that went well; others always are.
    """
    if not any(environment.get(name) for name in _ENDPOINTS):
        yield
        return
    try:
        # Only here: whoever exports nothing need not have it installed.
        from sluice_telemetry.otlp import Collector
    except ImportError:
        log.error("traces are not exported: sluice-telemetry[traces] is not installed")  # noqa: TRY400
        yield
        return
    collector = Collector(service, ratio)
    record_with(collector, slow)
    try:
        yield
    finally:
        record_with(None)
        collector.close()


class Hop:
    """A span that is current inside of a `with` block: what is logged and published there is its own."""

    __slots__ = ("_before", "_span", "trace")

    def __init__(self, span: Span, trace: Trace) -> None:
        self._span = span
        self._before: Trace | None = None
        self.trace = trace

    def set(self, name: str, value: Value | None) -> None:
        """Add an attribute; None adds none."""
        self._span.set(name, value)

    def __enter__(self) -> Self:
        self._before = current()
        bind(self.trace)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        bind(self._before)
        if self._span is not _UNTOLD:
            job, item = subject()
            self._span.set("sluice.job", job)
            self._span.set("sluice.item", item)
            self._span.end(None if kind is None else kind.__name__)


def hop(name: str, kind: Kind, header: str | bytes | None, *, told: bool = True) -> Hop:
    """Give the span of what a message or request leads to here, in the trace that its header names.

    Parameters
    ----------
    name
        Of few values: a route or topic, never an address.
    header
        The `traceparent` it came with; without one a trace begins.
    told
        False for what nobody wants to see, such as health checks.
    """
    return _hop(name, kind, parse(header), told=told)


def within(name: str, kind: Kind = Kind.INTERNAL) -> Hop:
    """Give the span of something that the running task does now, current inside of a `with` block."""
    return _hop(name, kind, current(), told=True)


def _hop(name: str, kind: Kind, parent: Trace | None, *, told: bool) -> Hop:
    if _recorder is None or not told or (parent is not None and not parent.sampled):
        return Hop(_UNTOLD, new_trace() if parent is None else parent.child())
    return Hop(*_recorder.begin(name, kind, parent))


def span(name: str, kind: Kind = Kind.INTERNAL) -> Span:
    """Give the span of a call that the running task makes now, one of many; it must be ended.

    Where the task belongs to no trace it is told to nobody: nothing would lead to it. Nor is one told that
    went well and was quick: see `exporting`.
    """
    if _recorder is None or (parent := current()) is None or not parent.sampled:
        return _UNTOLD
    return _Call(_recorder, name, kind, parent)
