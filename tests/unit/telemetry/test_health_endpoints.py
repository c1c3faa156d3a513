"""The health endpoints say whether the service lives, is ready, and what it counted."""

from __future__ import annotations

import aiohttp
from prometheus_client import CollectorRegistry, Counter

from sluice_telemetry.health import HealthServer


async def get(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return response.status, await response.text()


async def test_ready_follows_the_service_and_live_does_not() -> None:
    answers: list[bool | str] = [True, "waiting for kafka", False]
    async with HealthServer("127.0.0.1", 0, lambda: answers.pop(0), CollectorRegistry()) as server:
        assert await get(server.port, "/readyz") == (200, "ready\n")
        assert await get(server.port, "/readyz") == (503, "waiting for kafka\n")
        assert await get(server.port, "/readyz") == (503, "not ready\n")
        assert await get(server.port, "/livez") == (200, "ok\n")


async def test_metrics_are_shown_as_prometheus_reads_them() -> None:
    registry = CollectorRegistry()
    Counter("things", "Things", ["kind"], registry=registry).labels("odd").inc(3)
    async with HealthServer("127.0.0.1", 0, lambda: True, registry) as server:
        status, text = await get(server.port, "/metrics")
    assert status == 200
    assert 'things_total{kind="odd"} 3.0' in text


async def test_nothing_else_is_served() -> None:
    async with HealthServer("127.0.0.1", 0, lambda: True, CollectorRegistry()) as server:
        assert (await get(server.port, "/"))[0] == 404
