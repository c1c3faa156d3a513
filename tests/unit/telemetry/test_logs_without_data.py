"""Logs: one JSON object per line, with service and trace, and never an exception's words."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

from sluice_telemetry.logs import Repeats, describe

PROGRAM = """
import logging, structlog
from sluice_telemetry.logs import configure_logging
from sluice_telemetry.subject import about, serving
from sluice_telemetry.trace import Trace, bind
configure_logging("tested")
log = structlog.get_logger("sluice_tested.part")
bind(Trace("a" * 32, "b" * 16))
serving("r-0")
about("j-0", 7)
serving("r-1")
log.info("happened", count=3)
about("j-1")
try:
    try:
        int("Jane Doe")
    except ValueError as error:
        raise LookupError("Jane Doe") from error
except LookupError:
    log.exception("went wrong")
    logging.getLogger("library").exception("it said %s", "no")
logging.getLogger("library").info("chatter")
log.debug("detail")
"""


def lines() -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "Jane" not in done.stderr
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_every_line_has_its_service_request_and_trace_and_errors_only_their_types_and_places() -> None:
    happened, wrong, library = lines()
    assert (happened["event"], happened["count"]) == ("happened", 3)
    assert not {"job", "item"} & happened.keys()
    assert (wrong["job"], library["job"]) == ("j-1", "j-1")
    for line in (happened, wrong, library):
        assert (line["service"], line["trace"], line["span"]) == ("tested", "a" * 32, "b" * 16)
        assert line["request"] == "r-1"
        assert line["timestamp"].endswith("Z")
    assert wrong["error"] == "LookupError from ValueError"
    assert any("<module>" in place for place in wrong["at"])
    assert (library["event"], library["logger"]) == ("it said no", "library")


def test_an_error_is_described_by_its_chain_of_types() -> None:
    try:
        try:
            raise KeyError("Jane Doe")
        except KeyError:
            raise RuntimeError("Jane Doe") from None
    except RuntimeError as error:
        found = describe(error)
    assert found["error"] == "RuntimeError"
    assert "Jane" not in str(found)


def test_a_library_that_repeats_itself_is_heard_once_in_a_while() -> None:
    now = 0.0
    repeats = Repeats(every=10, monotonic=lambda: now)

    def said(name: str, message: str) -> str | None:
        record = logging.LogRecord(name, logging.ERROR, "", 0, message, (), None)
        return record.msg if repeats.filter(record) else None

    assert said("library", "no broker") == "no broker"
    now = 9
    assert said("library", "no broker") is None
    assert said("library", "something else") == "something else"
    assert said("sluice_ours", "no broker") == "no broker"
    assert said("sluice_ours", "no broker") == "no broker"
    now = 11
    assert said("library", "no broker") == "no broker (1 more like it)"
