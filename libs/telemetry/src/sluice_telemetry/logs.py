"""Structured logs: one JSON object per line on stderr, each with its service, trace, job and item.

Logs hold ids, counts and codes, never health information, and never an exception's message: a message may
quote what was being handled. An error is logged by its type and by the code locations it passed through.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

import msgspec
import structlog

from sluice_telemetry.subject import request_served, subject
from sluice_telemetry.trace import current

Event = MutableMapping[str, Any]
_DEPTH = 12  # frames of a traceback worth reading
_LEVELS = {"warn": "warning", "exception": "error"}
_encoder = msgspec.json.Encoder(enc_hook=repr)
_LINES = 1000  # different lines whose repetition is noticed


def describe(error: BaseException) -> dict[str, Any]:
    """Give an error as fields that are safe to log: its type, its causes' types and where it was raised.

    Returns
    -------
    dict
        `error` (type names, outermost first) and `at` (`file:line function`, innermost last).
    """
    kinds: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(kinds) < _DEPTH:
        kinds.append(type(cause).__qualname__)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    frames = traceback.extract_tb(error.__traceback__)[-_DEPTH:]
    places = [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return {"error": " from ".join(kinds), "at": places}


def _completing(service: str) -> Callable[[Any, str, Event], Event]:
    """Give what completes a line: one step instead of one for each field, as a gateway logs every request."""

    def complete(logger: Any, method: str, event: Event) -> Event:
        event["level"] = _LEVELS.get(method, method)
        record = event.get("_record")  # of a library
        event["logger"] = logger.name if record is None else record.name
        event["timestamp"] = datetime.now(UTC)
        event["service"] = service
        job, item = subject()
        if job is not None:
            event.setdefault("job", job)
        if item is not None:
            event.setdefault("item", item)
        if (request := request_served()) is not None:
            event["request"] = request
        if (trace := current()) is not None:
            event["trace"] = trace.trace_id
            event["span"] = trace.span_id
        if "exc_info" in event:
            _strip_exception(event)
        return event

    return complete


def _strip_exception(event: Event) -> None:
    """Replace `exc_info` by what `describe` allows."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event.update(describe(error))


class Repeats(logging.Filter):
    """Lets a library's line pass once in `every` seconds, with the number of those left out since.

    A client that cannot reach its server says so ten times a second, in the same words.

    Parameters
    ----------
    every
        Seconds.
    monotonic
        A clock that only rises, in seconds.
    """

    def __init__(self, every: float = 10.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every = every
        self._monotonic = monotonic
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the line passes; our own always do."""
        if record.name.startswith("sluice_") or not isinstance(record.msg, str):
            return True
        line, now = (record.name, record.msg), self._monotonic()
        last, left_out = self._seen.get(line, (-self._every, 0))
        if now - last < self._every:
            self._seen[line] = (last, left_out + 1)
            return False
        if len(self._seen) > _LINES:
            self._seen.clear()
        self._seen[line] = (now, 0)
        if left_out:
            record.msg = f"{record.msg} ({left_out} more like it)"
        return True


class _Stderr(structlog.BytesLogger):
    """A logger of ours: its name, and where its lines go."""

    def __init__(self, name: str = "", *_: Any) -> None:
        super().__init__(sys.stderr.buffer)
        self.name = name


def _line(_logger: Any, _method: str, event: Event) -> bytes:
    return _encoder.encode(event)


def _text(_logger: Any, _method: str, event: Event) -> str:
    return _encoder.encode(event).decode()


def configure_logging(service: str, level: int = logging.INFO) -> None:
    """Send this process's logs, its libraries' included, to stderr as JSON lines.

    Parameters
    ----------
    service
        The service's name, a field of every line.
    level
        The least severity that is written; libraries are quieter by one step.
    """
    complete = _completing(service)
    # Our own lines go straight to stderr; a gateway writes one for every request, and by way of Python's
    # logging that would cost three times as much.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        processors=[complete, _line],
        logger_factory=_Stderr,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Repeats())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[complete],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _text],
        )
    )
    # By name when they log, not by level now: most loggers come into being after this.
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or _is_ours(record.name))
    logging.basicConfig(handlers=[handler], level=level, force=True)


def _is_ours(name: str) -> bool:
    return name == "__main__" or name.startswith("sluice")
