"""Polls say when a job will end if insight can tell, and miss nothing else when it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sluice_gateway.etas import Etas, asking, left

AT = datetime(2026, 1, 2, tzinfo=UTC)


class Asked:
    """Whoever is asked; what it answers, or raises, is set by tests."""

    def __init__(self, answer: Mapping[str, float] | Exception | None = None) -> None:
        self.answer = answer
        self.questions: list[list[str]] = []
        self.now = 0.0

    async def __call__(self, jobs: Collection[str]) -> Mapping[str, float]:
        self.questions.append(sorted(jobs))
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or {}

    def etas(self) -> Etas:
        return Etas(self, patience=0.01, pace=0.0, monotonic=lambda: self.now)


async def answered(asked: Asked, questions: int) -> None:
    """Let whatever is asked aside be asked and answered: so many questions by then."""
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(asked.questions) == questions


async def test_what_is_known_is_told_and_kept_for_a_moment() -> None:
    asked = Asked({"a": AT.timestamp()})
    etas = asked.etas()
    assert await etas.of(["a", "b"]) == {"a": AT}
    assert await etas.one("a") == AT
    assert await etas.one("b") is None
    assert asked.questions == [["a", "b"]]
    asked.now += 2
    assert await etas.one("a") == AT
    assert asked.questions[1:] == [["a"]]


async def test_polls_wait_for_nobody_and_share_their_questions() -> None:
    asked = Asked({"a": AT.timestamp()})
    etas = asked.etas()
    jobs = ["a", *(f"other-{number}" for number in range(149))]
    assert [etas.told(job) for job in (*jobs, *jobs)] == [None] * 300
    await answered(asked, 2)
    assert sorted(map(len, asked.questions)) == [50, 100]
    assert [etas.told(job) for job in jobs] == [AT, *[None] * 149]
    assert len(asked.questions) == 2


async def test_what_was_heard_lately_is_told_until_it_is_heard_anew() -> None:
    asked = Asked({"a": AT.timestamp()})
    etas = asked.etas()
    assert await etas.one("a") == AT
    asked.now, asked.answer = 140.0, {"a": AT.timestamp() + 1}
    assert etas.told("a") == AT
    await answered(asked, 2)
    assert etas.told("a") == AT + timedelta(seconds=1)
    asked.now = 300.0
    assert etas.told("a") is None


async def test_polls_leave_whoever_is_away_alone_too() -> None:
    asked = Asked(OSError())
    etas = asked.etas()
    for job in ("a", "b", "c"):
        assert etas.told(job) is None
        await answered(asked, 1)
    asked.answer = {"a": AT.timestamp()}
    asked.now += 5
    assert etas.told("a") is None
    await answered(asked, 2)
    assert etas.told("a") == AT


@pytest.mark.parametrize("answer", [None, OSError(), ValueError(), aiohttp.ClientError()])
async def test_whoever_is_away_is_left_alone_for_a_while(answer: Exception | None) -> None:
    asked = Asked(answer)
    etas = asked.etas()
    assert await etas.of(["a"]) == await etas.of(["b"]) == {}
    assert asked.questions == [["a"]]
    asked.answer = {"a": AT.timestamp()}
    asked.now += 5
    assert await etas.one("a") == AT


async def test_without_anybody_to_ask_nothing_is_told() -> None:
    assert await Etas().of(["a"]) == {}


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -1.0, 1e300])
async def test_a_time_that_is_none_is_not_told(at: float) -> None:
    assert await Asked({"a": at}).etas().of(["a"]) == {}


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a":"soon"}', b'{"a":' + b"1" * 100_000 + b"}", b"\xff"])
@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_that_makes_no_sense_is_no_answer(body: bytes, status: int) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, status=status)

    app = web.Application()
    app.router.add_get("/etas", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        etas = Etas(asking(session, str(server.make_url("")).rstrip("/")), patience=5.0)
        assert await etas.of(["a"]) == {}


async def test_jobs_are_asked_for_in_one_question() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(dict.fromkeys(request.query.getall("job"), AT.timestamp()))

    app = web.Application()
    app.router.add_get("/etas", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        etas = Etas(asking(session, str(server.make_url("")).rstrip("/")), patience=5.0)
        assert await etas.of(["a", "b"]) == {"a": AT, "b": AT}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, ", about 1 s left"),
        (40, ", about 40 s left"),
        (119, ", about 119 s left"),
        (200, ", about 3 min left"),
        (9_000, ", about 2 h left"),
        (30 * 86400, ", about 30 d left"),
    ],
)
def test_what_is_left_is_said_roughly_and_shortly(seconds: int, text: str) -> None:
    assert left(AT, AT.timestamp() - seconds) == text
    assert left(None, 0.0) == ""
    assert len(f'"Retrieving export files" (100% at the source){text}') <= 100
