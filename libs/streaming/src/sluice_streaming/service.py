"""The process around a service: event loop, logs, signals, health endpoints and exit codes.

Every `__main__` is `run(name, main)`. `main` wires the service, works until `context.stop` is set, and
cleans up after itself; what it raises becomes an exit code and one line, not a traceback full of data.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
import uvloop
from prometheus_client import disable_created_metrics
from pydantic import ValidationError

from sluice_settings import MisfitSettingError, explain
from sluice_streaming.settings import ProcessSettings
from sluice_streaming.starting import StoppedError, unless_stopped
from sluice_streaming.watchdog import Stuck
from sluice_telemetry.health import HealthServer, Ready
from sluice_telemetry.logs import configure_logging
from sluice_telemetry.spans import exporting

log = structlog.get_logger(__name__)

T = TypeVar("T")

_STOP_SECONDS = 30.0
_END_SECONDS = 4.0
_YOUNG = 10_000
_FROZEN_SECONDS = 120.0


@dataclass
class Context:
    """What `main` is given.

    Parameters
    ----------
    service
        The service's name.
    stop
        Set when the process is asked to end (SIGTERM, SIGINT); `main` then has 30 s.
    """

    service: str
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    _checks: list[Ready] = field(default_factory=list)

    async def starting(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for what a start needs, such as a database that may be down for long, and give its result.

        A stop that comes first cancels it and ends the service at once: nothing has begun that would have
        to be finished. For that this raises an error, which `main` lets pass.
        """
        return await unless_stopped(self.stop, work)

    def watch(self, check: Ready) -> None:
        """Let readiness depend on `check` too, for example a worker's `ready`."""
        self._checks.append(check)

    def ready(self) -> bool | str:
        """Say whether everything watched is ready, and if not, what the first is waiting for."""
        for check in self._checks:
            answer = check()
            if answer is not True:
                return answer or "not ready"
        return bool(self._checks) or "starting"


Main = Callable[[Context], Awaitable[None]]


def run(service: str, main: Main) -> None:
    """Run a service to its end and exit the process.

    Exit codes (sysexits.h): 0 asked to stop and did; 78 wrong settings; 70 a fault, or no progress; 75 did
    not stop in time.
    """
    try:
        settings = ProcessSettings()
    except ValidationError as error:
        print(f"{service}: {explain(error)}", file=sys.stderr)
        raise SystemExit(os.EX_CONFIG) from None
    # The time at which each sample came into being doubles what is scraped, and Prometheus drops it.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    configure_logging(service, logging.getLevelNamesMapping()[settings.log_level])
    _spare_collecting()
    with (
        exporting(service, settings.trace_ratio, slow=settings.trace_slow),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        code = runner.run(_supervise(Context(service), main, settings))
        _end_within(_END_SECONDS, code)
    raise SystemExit(code)


def _end_within(seconds: float, code: int) -> None:
    """End the process then, whatever is left: tasks may heed no cancelling, and threads go on without end."""
    timer = threading.Timer(seconds, os._exit, [code])
    timer.daemon = True
    timer.start()


def _spare_collecting() -> None:
    """Look for garbage less often, and never through what was imported.

    Reference counting frees nearly everything; what is left over are the cycles that exceptions make. A
    process that handles thousands of small objects a second would look through all of its modules' again
    and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 20)


async def _supervise(context: Context, main: Main, settings: ProcessSettings) -> int:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, context.stop.set)
    async with AsyncExitStack() as stack:
        try:
            await _serve_health(context, settings, stack)
            return await _until_stopped(context, main)
        except (ValidationError, MisfitSettingError) as error:
            log.error(explain(error))  # noqa: TRY400 - one line is what helps here
            return os.EX_CONFIG
        except Stuck as error:
            log.error("no progress", reason=str(error))  # noqa: TRY400
            return os.EX_SOFTWARE
        except Exception as error:
            log.critical("failed", exc_info=error)
            return os.EX_SOFTWARE


async def _until_stopped(context: Context, main: Main) -> int:
    work = asyncio.ensure_future(main(context))
    pulse = asyncio.create_task(_beat())
    stopping = asyncio.create_task(context.stop.wait())
    try:
        await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
        if context.stop.is_set():
            log.info("stopping")
            await asyncio.wait([work], timeout=_STOP_SECONDS)
        if not work.done():
            log.error("did not stop in time")
            work.cancel()
            await asyncio.wait([work], timeout=1.0)
            return os.EX_TEMPFAIL
        # Stopped while it was starting is stopped in order.
        with suppress(StoppedError):
            work.result()
        log.info("stopped")
        return os.EX_OK
    finally:
        for task in (pulse, stopping):
            task.cancel()
        faulthandler.cancel_dump_traceback_later()


async def _beat() -> None:
    """End the process if the event loop freezes: nothing that runs on it could notice."""
    while True:
        with suppress(ValueError, AttributeError):  # no stderr to write the traceback to
            faulthandler.dump_traceback_later(_FROZEN_SECONDS, exit=True)
        await asyncio.sleep(_FROZEN_SECONDS / 10)


async def _serve_health(context: Context, settings: ProcessSettings, stack: AsyncExitStack) -> None:
    host, _, port = settings.health.rpartition(":")
    if port and int(port):
        await stack.enter_async_context(HealthServer(host or "127.0.0.1", int(port), context.ready))
