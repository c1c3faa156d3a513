"""A container's health check asks its own service where that listens, and says what it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from sluice_telemetry.probe import ready


@contextmanager
def answering(status: int, text: bytes) -> Iterator[int]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("variable", ["SLUICE_HEALTH", "SLUICE_LISTEN"])
def test_a_service_that_listens_everywhere_is_asked_on_this_machine(variable: str) -> None:
    with answering(200, b"ready\n") as port:
        assert ready({variable: f"0.0.0.0:{port}"}) == (True, "ready")


def test_a_service_that_is_not_ready_is_unhealthy_and_says_why() -> None:
    with answering(503, b"waiting for Kafka\n") as port:
        assert ready({"SLUICE_HEALTH": f"127.0.0.1:{port}"}) == (False, "waiting for Kafka")


def test_nobody_there_is_unhealthy() -> None:
    with answering(200, b"") as port:
        pass
    assert ready({"SLUICE_HEALTH": f"127.0.0.1:{port}"}) == (False, "ConnectionRefusedError")
    assert ready({})[0] is False
