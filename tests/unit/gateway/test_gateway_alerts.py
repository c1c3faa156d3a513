"""Jobs and sources are told of with what insight alerts of them, and without it when it is away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sluice_gateway.alerts import Alerts, Held, asking_for_alerts

AT = datetime(2026, 1, 2, tzinfo=UTC)
STUCK = Held(type="JobStuck", at=AT.timestamp() + 1800, job="a", since=AT.timestamp())
FAILING = Held(type="SourceFailing", at=1.0, source="s1", seconds=300.0, faults=9, items=1)


class Asked:
    """Whoever is asked; what it answers, or raises, is set by tests."""

    def __init__(self, answer: Sequence[Held] | Exception | None) -> None:
        self.answer = answer
        self.questions = 0
        self.now = 0.0

    async def __call__(self) -> Sequence[Held]:
        self.questions += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            await asyncio.Event().wait()
        return self.answer or ()

    def alerts(self) -> Alerts:
        return Alerts(self, patience=0.01, monotonic=lambda: self.now)


async def test_alerts_are_told_of_what_they_are_about_and_kept_for_a_moment() -> None:
    asked = Asked([STUCK, FAILING])
    alerts = asked.alerts()
    assert await alerts.stuck() == {"a": AT}
    assert await alerts.failing("s1") == FAILING
    assert await alerts.failing("a") is None
    assert asked.questions == 1
    asked.now, asked.answer = 6.0, []
    assert await alerts.stuck() == {}
    assert asked.questions == 2


@pytest.mark.parametrize("answer", [None, OSError("away"), ValueError("nonsense")])
async def test_nothing_is_told_when_nobody_answers_and_nobody_waits_twice(answer: Exception | None) -> None:
    asked = Asked([STUCK])
    alerts = asked.alerts()
    assert await alerts.stuck() == {"a": AT}
    asked.now, asked.answer = 6.0, answer
    assert await alerts.stuck() == {}
    assert (await alerts.failing("s1"), asked.questions) == (None, 2)


async def test_without_insight_nothing_is_told() -> None:
    assert (await Alerts().stuck(), await Alerts().failing("s1")) == ({}, None)


BODY = (
    b'[{"type":"JobStuck","at":2.0,"job":"a","kind":"bulk-export","since":1767312000.0,"pending":2},'
    b'{"type":"New","at":1.0}]'
)


@pytest.mark.parametrize(
    ("body", "stuck"),
    [(BODY, {"a": AT}), (b"[]", {}), (b"{", {}), (b"x" * 2_000_000, {}), (b'[{"type":"JobStuck"}]', {})],
)
async def test_whatever_insight_answers_over_http_jobs_are_told_of(
    body: bytes, stuck: dict[str, datetime]
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        # In pieces, as networks bring it.
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (body[:20], body[20:]):
            await response.write(piece)
            await asyncio.sleep(0.01)
        return response

    app = web.Application()
    app.router.add_get("/alerts", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        url = str(server.make_url("")).rstrip("/")
        assert await Alerts(asking_for_alerts(session, url), patience=20.0).stuck() == stuck
