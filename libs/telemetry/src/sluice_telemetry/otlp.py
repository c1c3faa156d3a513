"""Telling spans to a collector by OTLP over HTTP, with OpenTelemetry's SDK (the extra `traces`).

Where to, and with which headers, the SDK takes from the environment (`OTEL_EXPORTER_OTLP_ENDPOINT` and its
relatives, OpenTelemetry specification "OTLP exporter configuration"). Spans wait in a queue of bounded length
and are sent by a thread; when the collector is away they are dropped, and nothing waits for them.
"""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan

from sluice_telemetry.spans import Kind, Span, Value
from sluice_telemetry.trace import Trace

_SEND_SECONDS = 5
_KINDS = {kind: SpanKind[kind.name] for kind in Kind}


class _Told(Span):
    __slots__ = ("_span",)

    def __init__(self, span: OtelSpan) -> None:
        self._span = span

    def set(self, name: str, value: Value | None) -> None:
        if value is not None:
            self._span.set_attribute(name, value)

    def end(self, error: str | None = None) -> None:
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class Collector:
    """The recorder that sends spans to a collector.

    Parameters
    ----------
    service
        The service's name.
    ratio
        Which share of traces that begin here is told, 0 to 1; one that began elsewhere goes on as it began.
    """

    def __init__(self, service: str, ratio: float) -> None:
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=Resource.create({"service.namespace": "sluice", "service.name": f"sluice-{service}"}),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(timeout=_SEND_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("sluice")

    def begin(
        self, name: str, kind: Kind, parent: Trace | None, since: int | None = None
    ) -> tuple[Span, Trace]:
        """Begin a span; see `Recorder`."""
        context = Context()
        if parent is not None:
            place = SpanContext(
                int(parent.trace_id, 16), int(parent.span_id, 16), True, TraceFlags(parent.flags)
            )
            context = set_span_in_context(NonRecordingSpan(place), context)
        span = self._tracer.start_span(name, context, _KINDS[kind], start_time=since)
        made = span.get_span_context()
        return _Told(span), Trace(f"{made.trace_id:032x}", f"{made.span_id:016x}", int(made.trace_flags))

    def close(self) -> None:
        """Send what is waiting; see `Recorder`."""
        self._provider.shutdown()
