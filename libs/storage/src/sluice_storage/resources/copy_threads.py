"""COPY … TO STDOUT for bulk: each is read by a thread, through libpq.

An event loop that receives what is exported is busy with nothing else, and copies it twice while no other
thread may run Python. libpq receives without the interpreter's lock, gives each tuple as it lies in memory,
and the thread that has it goes on to work with it (ADR 53). Whoever reads little beside much else has
`sluice_storage.resources.copy_stream.copy_out`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from typing import Any, Generic, TypeVar

import psycopg
from psycopg_pool import ConnectionPool

from sluice_storage.resources.copy_stream import Fields, TupleParser

AT_ONCE = 512 * 1024
"""About how many bytes are handed over at once. While a thread works with them Postgres fills the socket's
buffer of 200 KB, and waits."""

TELL_EVERY = 0.25
"""Seconds after which whoever waits for a thread to work is told that it goes on."""

# What is being read, and what waits for whoever takes it.
_AHEAD = 2
_PATIENCE = 10.0

T = TypeVar("T")

_Connection = psycopg.Connection[Any]


class Copies:
    """Connections whose COPY is read by threads; made where an event loop runs.

    Parameters
    ----------
    dsn
        `postgresql://` URL of a role that may read the schema `fhir`.
    size
        How many copies run at once; whoever asks for one more waits.
    working
        How many of them may be `worked` upon, if not all. Their threads compute, and more of them than
        processors only wait for each other.
    application
        What the server calls the connections.
    """

    def __init__(
        self, dsn: str, *, size: int = 4, working: int | None = None, application: str = "sluice"
    ) -> None:
        self._free = asyncio.Semaphore(size)
        self._working = asyncio.Semaphore(size if working is None else working)
        # A thread never waits for a connection that another one has: there are as many as copies.
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="copy")
        self._connections = ConnectionPool(
            dsn,
            min_size=0,
            max_size=size,
            open=True,
            check=ConnectionPool.check_connection,
            timeout=_PATIENCE,
            reconnect_timeout=_PATIENCE,
            kwargs={"autocommit": True, "application_name": application, "options": "-c jit=off"},
        )

    async def close(self) -> None:
        """Close all connections; nobody may be copying."""
        await asyncio.to_thread(self._connections.close)
        self._threads.shutdown(wait=False)

    def copy(self, query: str, *arguments: object, timeout: float) -> AsyncGenerator[list[Fields]]:
        """Run the query, its arguments as `%s`, and give its tuples, about half a megabyte of them at a time.

        Whoever takes them slowly slows Postgres down: at most as much again is read ahead. Close it when it
        is left early (`contextlib.aclosing`).

        Parameters
        ----------
        timeout
            Seconds that the whole may take, waiting for whoever takes it included.

        Raises
        ------
        ConnectionError
            Postgres is away, or short of something.
        TimeoutError
            It took longer.
        """
        return self._copied(_as_they_are, query, arguments, timeout)

    async def worked(
        self, work: Callable[[list[Fields]], None], query: str, *arguments: object, timeout: float
    ) -> AsyncGenerator[None]:
        """Run the query and have the thread that reads its tuples work with as many of them at a time.

        It gives None now and then, so that whoever waits can look whether it is still wanted; an event loop
        that heard of each half a megabyte would take the interpreter's lock from the threads as often. Once
        it is closed nothing is working any more. All else as `copy`.
        """
        async with self._working, aclosing(self._copied(_seldom(work), query, arguments, timeout)) as going:
            async for _ in going:
                yield

    async def _copied(
        self,
        work: Callable[[list[Fields]], T | None],
        query: str,
        arguments: tuple[object, ...],
        timeout: float,
    ) -> AsyncGenerator[T]:
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        async with self._free:
            copying = _Copying(loop, work)
            statement = f"COPY ({query}) TO STDOUT (FORMAT binary)"
            ended = loop.run_in_executor(self._threads, copying.run, self._connections, statement, arguments)
            # Behind all that was handed over.
            ended.add_done_callback(copying.end)
            try:
                while True:
                    async with asyncio.timeout_at(until):
                        made = await copying.ready.get()
                    if not made:
                        break
                    yield made[0]
                    copying.taken()
                await ended
            except psycopg.OperationalError as error:
                raise ConnectionError(f"Postgres failed: {type(error).__name__}") from None
            finally:
                copying.leave()
                await asyncio.wait({ended})


def _as_they_are(found: list[Fields]) -> list[Fields]:
    return found


def _seldom(work: Callable[[list[Fields]], None]) -> Callable[[list[Fields]], bool | None]:
    """Work as told, and give something to hand over now and then."""
    told = time.monotonic()

    def working(found: list[Fields]) -> bool | None:
        nonlocal told
        work(found)
        if time.monotonic() - told < TELL_EVERY:
            return None
        told = time.monotonic()
        return True

    return working


class _LeftError(Exception):
    """Nobody wants the rest."""


class _Copying(Generic[T]):
    """One COPY: `run` reads it in a thread, everything else is called by the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[[list[Fields]], T | None]) -> None:
        self.ready: asyncio.Queue[tuple[T] | None] = asyncio.Queue()
        self._loop = loop
        self._work = work
        self._places = threading.Semaphore(_AHEAD)
        self._left = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def taken(self) -> None:
        """Have more read: what was handed over first is done with."""
        self._places.release()

    def end(self, run: asyncio.Future[None]) -> None:
        """Say that nothing follows; how it ended is of no interest to who has left."""
        if not run.cancelled():
            run.exception()
        self.ready.put_nowait(None)

    def leave(self) -> None:
        """Have the thread end, whatever it waits for."""
        with self._lock:
            self._left = True
            self._places.release()
            if self._socket is not None:
                # Postgres, busy writing to us, may be deaf to a request to cancel; a connection that is gone
                # it notices with its next write, and so does the thread that waits for it.
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def run(
        self, connections: ConnectionPool[_Connection], query: str, arguments: tuple[object, ...]
    ) -> None:
        """Read all of it, a place at a time."""
        # A descriptor of our own: the connection's may be another's by the time it is shut down.
        with (
            suppress(_LeftError),
            connections.connection() as connection,
            socket.socket(fileno=os.dup(connection.fileno())) as ours,
        ):
            with self._lock:
                if self._left:
                    raise _LeftError
                self._socket = ours
            try:
                with connection.cursor() as cursor, cursor.copy(query, arguments) as copy:
                    try:
                        self._read(copy)
                    except BaseException:
                        # Nobody waits for the rest in good order; the pool makes another.
                        connection.close()
                        raise
            finally:
                with self._lock:
                    self._socket = None

    def _read(self, copy: psycopg.Copy) -> None:
        parser = TupleParser()
        ended = False
        while not ended:
            self._places.acquire()
            if self._left:
                raise _LeftError
            found: list[Fields] = []
            size = 0
            while size < AT_ONCE and not ended:
                piece = copy.read()
                size += len(piece)
                found += parser.feed(piece)
                ended = not piece
            made = self._work(found) if found else None
            if made is None:
                self._places.release()
            else:
                self._loop.call_soon_threadsafe(self.ready.put_nowait, (made,))
