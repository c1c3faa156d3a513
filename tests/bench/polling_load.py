"""Requests at a steady rate, from a process of its own: how long each took since it was due.

What is late because the one before it on its connection was late counts with all of its delay.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from urllib.parse import urlsplit

import uvloop

_CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Answers:
    """Seconds from when each request was due to its answer, and how many had which status."""

    delays: list[float]
    statuses: dict[int, int]


async def steadily(urls: Sequence[str], headers: str, *, rate: float, seconds: float) -> Answers:
    """Ask for the URLs, all of one origin, in turn, so many a second."""
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        return await loop.run_in_executor(processes, _apart, list(urls), headers, rate, seconds)


def _apart(urls: list[str], headers: str, rate: float, seconds: float) -> Answers:
    return uvloop.run(_load(urls, headers, rate, seconds))


async def _load(urls: list[str], headers: str, rate: float, seconds: float) -> Answers:
    delays: list[float] = []
    statuses: Counter[int] = Counter()
    count = int(rate * seconds)
    began = time.perf_counter() + 0.5

    async def work(first: int) -> None:
        address = urlsplit(urls[0])
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        for number in range(first, count, _CONNECTIONS):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            path = urlsplit(urls[number % len(urls)]).path
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n{headers}\r\n".encode())
            statuses[await _answer(reader)] += 1
            delays.append(time.perf_counter() - due)
        writer.close()

    await asyncio.gather(*(work(first) for first in range(_CONNECTIONS)))
    return Answers(delays, dict(statuses))


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    lengths = [int(field[15:]) for field in fields if field.lower().startswith("content-length:")]
    if lengths and lengths[0]:
        await reader.readexactly(lengths[0])
    return int(status.split(" ")[1])
