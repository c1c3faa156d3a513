"""Requests at a steady rate, from a process of its own: how long each took since it was due.

What is late because the one before it on its connection was late counts with all of its delay.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import cast
from urllib.parse import urlsplit

import uvloop

_CONNECTIONS = 64
_PATIENCE = 120.0  # seconds for the last answers
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answers:
    """Seconds from when each request was due to its answer, and how many had which status.

    `processor` is what asking took itself, in seconds of processor time.
    """

    delays: list[float]
    statuses: dict[int, int]
    processor: float


async def steadily(urls: Sequence[str], headers: str, *, rate: float, seconds: float) -> Answers:
    """Ask for the URLs, all of one origin, in turn, so many a second."""
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        return await loop.run_in_executor(processes, _apart, list(urls), headers, rate, seconds)


def _apart(urls: list[str], headers: str, rate: float, seconds: float) -> Answers:
    return uvloop.run(_load(urls, headers, rate, seconds))


class _Connection(asyncio.Protocol):
    """One connection, kept open, whose requests go one after the other; cheap, as it shares the processor.

    Parameters
    ----------
    note
        Told how long a request took since it was due, in seconds, and its status.
    """

    def __init__(self, note: Callable[[float, int], None]) -> None:
        self._note = note
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._due: float | None = None
        self._got = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def ask(self, due: float, request: bytes) -> None:
        """Send a request, at once unless an answer is awaited."""
        self._waiting.append((due, request))
        self._send()

    def _send(self) -> None:
        if self._due is None and self._waiting and self._transport is not None:
            self._due, request = self._waiting.popleft()
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take an answer, or a piece of one."""
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or len(body) < (int(length[1]) if length else 0):
            return
        if self._due is None:
            raise RuntimeError("an answer that was not asked for")
        self._note(time.perf_counter() - self._due, int(head[9:12]))
        self._due, self._got = None, b""
        self._send()

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


async def _load(urls: list[str], headers: str, rate: float, seconds: float) -> Answers:
    delays: list[float] = []
    statuses: Counter[int] = Counter()
    loop = asyncio.get_running_loop()
    count = int(rate * seconds)
    all_answered = loop.create_future()

    def note(delay: float, status: int) -> None:
        delays.append(delay)
        statuses[status] += 1
        if len(delays) == count:
            all_answered.set_result(None)

    address = urlsplit(urls[0])
    host, port = address.hostname or "", address.port or 80
    requests = [
        f"GET {urlsplit(url).path} HTTP/1.1\r\nHost: {address.netloc}\r\n{headers}\r\n".encode()
        for url in urls
    ]
    connections = [
        (await loop.create_connection(lambda: _Connection(note), host, port))[1] for _ in range(_CONNECTIONS)
    ]
    began, busy = time.perf_counter() + 0.5, time.process_time()
    for number in range(count):
        due = began + number / rate
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        connections[number % _CONNECTIONS].ask(due, requests[number % len(requests)])
    async with asyncio.timeout(_PATIENCE):
        await all_answered
    for connection in connections:
        connection.close()
    return Answers(delays, dict(statuses), time.process_time() - busy)
