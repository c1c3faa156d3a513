"""A collector as tests play it: takes OTLP over real HTTP and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True, slots=True)
class Told:
    """A span as it was told; ids are hexadecimal, `parent` is empty for the first of a trace."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, str]


@dataclass(slots=True)
class CollectorStub:
    """Where to tell spans, and which were told so far; `bodies` are the requests as they came."""

    url: str = ""
    spans: list[Told] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        """Keep what a request tells."""
        self.bodies.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            about = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                for it in scope.spans:
                    attributes = {each.key: str(each.value) for each in it.attributes}
                    self.spans.append(
                        Told(
                            about["service.name"],
                            it.name,
                            it.trace_id.hex(),
                            it.span_id.hex(),
                            it.parent_span_id.hex(),
                            attributes,
                        )
                    )

    def of(self, trace: str) -> list[Told]:
        """Give the spans of a trace."""
        return [each for each in tuple(self.spans) if each.trace == trace]


@contextmanager
def collecting(*, keep: bool = True) -> Iterator[CollectorStub]:
    """Run a collector on a free port; it forgets what it is told at once unless it is to `keep` it."""
    stub = CollectorStub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            found = self.path == "/v1/traces"
            if found and keep:
                stub.take(body)
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
